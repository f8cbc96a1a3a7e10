//! Where programs, links and maps live while no agent does.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use windrose_abi::ABI_VERSION;

use crate::error::DatapathError;
use crate::sys;

/// The folder of pins: `<bpffs>/windrose/abi-<version>/{maps,links}`.
#[derive(Debug, Clone)]
pub struct Pins {
    root: PathBuf,
    folder: PathBuf,
}

impl Pins {
    /// The pins below a BPF file system; `name` tells several installations apart (tests).
    pub fn below(bpffs: &Path, name: &str) -> Self {
        let root = bpffs.join(name);
        let folder = root.join(format!("abi-{ABI_VERSION}"));
        Self { root, folder }
    }

    /// The pin of a map.
    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.folder.join("maps").join(name)
    }

    /// The pin of a link.
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        self.folder.join("links").join(name)
    }

    /// The pins of links whose names begin so.
    pub(crate) fn links_named(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.folder.join("links")).into_iter().flatten().flatten();
        let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        named.map(|entry| entry.path()).collect()
    }

    /// Removes the pin of a map, if there is one.
    pub(crate) fn remove_map(&self, name: &str) -> Result<(), DatapathError> {
        let path = self.map(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(DatapathError::file(path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Whether enforcement is in place.
    pub fn exist(&self) -> bool {
        self.folder.join("links").is_dir()
    }

    /// Refuses pins of another ABI, and touches nothing.
    pub(crate) fn check(&self) -> Result<(), DatapathError> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Ok(()) };
        for entry in entries.flatten() {
            if entry.path() != self.folder {
                let name = entry.file_name().to_string_lossy().into_owned();
                return Err(DatapathError::ForeignAbi {
                    path: self.root.clone(),
                    found: name.strip_prefix("abi-").unwrap_or(&name).to_owned(),
                    ours: ABI_VERSION,
                });
            }
        }
        Ok(())
    }

    /// Makes the folders.
    pub(crate) fn prepare(&self) -> Result<(), DatapathError> {
        for folder in ["maps", "links"] {
            let path = self.folder.join(folder);
            fs::create_dir_all(&path).map_err(DatapathError::file(&path))?;
        }
        Ok(())
    }

    /// Removes every pin of every version, links first: enforcement ends. Says how many links went.
    pub fn remove(&self) -> Result<usize, DatapathError> {
        let mut links = 0;
        let Ok(versions) = fs::read_dir(&self.root) else { return Ok(0) };
        for version in versions.flatten() {
            for folder in ["links", "maps"] {
                let path = version.path().join(folder);
                let Ok(entries) = fs::read_dir(&path) else { continue };
                for entry in entries.flatten() {
                    // Links of raw tracepoints cannot be detached; they refuse nothing.
                    if folder == "links"
                        && let Ok(link) = sys::open_pin(&entry.path())
                    {
                        let _ = sys::link_detach(link.as_fd());
                    }
                    fs::remove_file(entry.path()).map_err(DatapathError::file(entry.path()))?;
                    links += usize::from(folder == "links");
                }
                fs::remove_dir(&path).map_err(DatapathError::file(&path))?;
            }
            fs::remove_dir(version.path()).map_err(DatapathError::file(version.path()))?;
        }
        fs::remove_dir(&self.root).map_err(DatapathError::file(&self.root))?;
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_of_another_abi_are_refused_by_name_and_left_alone() {
        let root = std::env::temp_dir().join(format!("windrose-pins-{}", std::process::id()));
        let foreign = root.join("windrose").join("abi-0").join("links");
        fs::create_dir_all(&foreign).unwrap();
        let refused = Pins::below(&root, "windrose").check().unwrap_err();
        assert!(matches!(&refused, DatapathError::ForeignAbi { found, .. } if found == "0"), "{refused}");
        assert!(foreign.exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
