//! Rules that every source file keeps and that no lint knows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::digest;
use crate::workspace::Workspace;

/// Where our Rust is.
const FOLDERS: [&str; 4] = ["ebpf", "userspace", "xtask", "tests"];

/// Names that say nothing of a file's one job; `mod.rs` says it with the folder's name instead.
const NAMES_REFUSED: [&str; 5] = ["mod", "utils", "common", "helpers", "misc"];

/// Crate roots that must forbid unsafe code.
const SAFE_ROOTS: [&str; 4] = [
    "ebpf/engine/src/lib.rs",
    "userspace/policy/src/lib.rs",
    "userspace/agent/src/main.rs",
    "xtask/src/main.rs",
];

/// Fails naming every file that breaks a rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&workspace.root().join(folder), &mut files)?;
    }
    files.sort();
    let mut faults = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        faults.extend(fault(file, &text).map(|fault| format!("{}: {fault}", workspace.relative(file))));
    }
    for root in SAFE_ROOTS {
        let text =
            fs::read_to_string(workspace.root().join(root)).with_context(|| format!("cannot read {root}"))?;
        if !text.contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{root}: has no #![forbid(unsafe_code)]"));
        }
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

/// What is wrong with a file, if anything is.
fn fault(path: &Path, text: &str) -> Option<String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if NAMES_REFUSED.contains(&&*name) {
        return Some("name it after its one job".to_owned());
    }
    let first = text.lines().next().unwrap_or_default();
    (!first.starts_with("//! ")).then(|| "its first line must be `//! ` and say its one job".to_owned())
}

/// Adds every Rust file below `folder`.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if !digest::is_source(&path) {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_say_its_job_is_refused() {
        assert!(fault(Path::new("a/flow.rs"), "//! Flows.\n").is_none());
        assert!(fault(Path::new("a/flow.rs"), "use std::fs;\n").is_some());
        assert!(fault(Path::new("a/flow.rs"), "").is_some());
    }

    #[test]
    fn a_file_named_after_no_job_is_refused() {
        assert!(fault(Path::new("a/mod.rs"), "//! Flows.\n").is_some());
        assert!(fault(Path::new("a/utils.rs"), "//! Flows.\n").is_some());
    }
}
