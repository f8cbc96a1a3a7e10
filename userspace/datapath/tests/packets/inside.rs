//! A cgroup for a test's own process.

use std::path::{Path, PathBuf};

/// This process in a cgroup of its own; moved back and removed at the end.
pub(crate) struct Inside {
    folder: PathBuf,
    back: PathBuf,
}

impl Inside {
    /// Makes it below the cgroup v2 root.
    pub(crate) fn new(root: &Path, name: &str) -> Self {
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("").to_owned();
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("cgroup.procs"), std::process::id().to_string()).unwrap();
        Self { folder, back: root.join(own).join("cgroup.procs") }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.back, std::process::id().to_string());
        let _ = std::fs::remove_dir(&self.folder);
    }
}
