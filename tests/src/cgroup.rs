//! Folders of the cgroup v2 hierarchy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::wait;

/// The root of the cgroup v2 hierarchy, if one is mounted.
pub fn root() -> Option<&'static Path> {
    static ROOT: OnceLock<Option<PathBuf>> = OnceLock::new();
    ROOT.get_or_init(|| mount_of("cgroup2")).as_deref()
}

/// Where the first file system of a type is mounted.
pub fn mount_of(kind: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, found) = (fields.nth(1)?, fields.next()?);
        (found == kind).then(|| PathBuf::from(point))
    })
}

/// A cgroup, with those below it, removed on drop.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    name: String,
}

impl Cgroup {
    /// Names a cgroup below the root without making it.
    pub fn below_root(name: &str) -> Result<Self> {
        let root = root().context("no cgroup v2 hierarchy is mounted")?;
        Ok(Self { folder: root.join(name), name: name.to_owned() })
    }

    /// Makes it.
    pub fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))
    }

    /// The path below the root.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to which a process writes `0` to move into it.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes a cgroup and those below it; its processes must be on their way out.
pub fn remove(folder: &Path) {
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }
    // A process that has just been reaped may still be in it for a moment.
    let gone = wait::until_true("the cgroup is empty", Duration::from_secs(5), || {
        Ok(!folder.exists() || fs::remove_dir(folder).is_ok())
    });
    if let Err(error) = gone {
        eprintln!("warning: {} stays: {error:#}", folder.display());
    }
}
