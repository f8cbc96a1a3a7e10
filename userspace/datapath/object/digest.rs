//! The digest that ties the committed BPF object to the sources it was built from.
//!
//! `cargo xtask ebpf` writes it and the datapath's build script checks it; both include this very file, so
//! that they cannot disagree about what is a source.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// What is written beside the committed object: one `key value` a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Hex SHA-256 over the sources, see [`of_sources`].
    pub(crate) sources: String,
    /// Hex SHA-256 of the object's bytes.
    pub(crate) object: String,
    /// The compiler that built the object, as `rustc --version` says it without its name.
    pub(crate) rustc: String,
    /// The version of bpf-linker that linked it.
    pub(crate) linker: String,
}

impl Record {
    /// Reads what [`fmt::Display`] wrote. The error names the key that is missing.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find_map(|(name, value)| (name == key).then(|| value.trim().to_owned()))
                .ok_or_else(|| format!("it has no line `{key} …`"))
        };
        Ok(Self {
            sources: value("sources")?,
            object: value("object")?,
            rustc: value("rustc")?,
            linker: value("bpf-linker")?,
        })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "sources {}", self.sources)?;
        writeln!(out, "object {}", self.object)?;
        writeln!(out, "rustc {}", self.rustc)?;
        writeln!(out, "bpf-linker {}", self.linker)
    }
}

/// Hex SHA-256 of `bytes`.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// Hex SHA-256 over every file under `folder` (the checkout's `ebpf/`), in the order of their paths.
///
/// Each file enters as its path, relative and with `/`, its length and its bytes, so that moving a byte from
/// one file to the next changes the digest.
pub(crate) fn of_sources(folder: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    for (name, path) in files {
        let bytes = fs::read(path)?;
        digest.update(format!("{name}\0{}\0", bytes.len()));
        digest.update(bytes);
    }
    Ok(hex(digest.finalize().as_slice()))
}

/// Adds every source below `folder` as (path relative to `top`, path).
fn collect(top: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if !is_source(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(top, &path, files)?;
        } else if let Ok(relative) = path.strip_prefix(top) {
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            files.push((parts.join("/"), path));
        }
    }
    Ok(())
}

/// Build output and what editors leave (dot files) are no sources.
pub(crate) fn is_source(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name != "target" && !name.to_string_lossy().starts_with('.'))
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
