//! What the machine must have: root, BTF, cgroup v2, a BPF file system.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::DatapathError;

/// The oldest kernel that has every hook: `bpf_get_netns_cookie` in packet programs.
const OLDEST_KERNEL: (u32, u32) = (6, 16);

/// The mounts that enforcement stands on.
#[derive(Debug)]
pub struct Machine {
    /// Root of the cgroup v2 hierarchy.
    pub cgroup_root: PathBuf,
    /// Root of a BPF file system.
    pub bpffs: PathBuf,
    cgroup: OwnedFd,
}

impl Machine {
    /// Looks at the machine and mounts the BPF file system if it is not there. Nothing is attached.
    pub fn inspect() -> Result<Self, DatapathError> {
        // SAFETY: the call takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            return Err(missing(
                "root",
                "run as root: loading BPF programs needs CAP_BPF, CAP_NET_ADMIN and more",
            ));
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_err(DatapathError::file("/proc/sys/kernel/osrelease"))?;
        let (major, minor) = version_of(&release);
        if (major, minor) < OLDEST_KERNEL {
            return Err(missing(
                &format!(
                    "Linux {}.{} or later (this is {})",
                    OLDEST_KERNEL.0,
                    OLDEST_KERNEL.1,
                    release.trim()
                ),
                "boot a newer kernel; docs/kernels.md lists what each hook needs",
            ));
        }
        if !Path::new("/sys/kernel/btf/vmlinux").exists() {
            return Err(missing(
                "BTF (/sys/kernel/btf/vmlinux)",
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            ));
        }
        let mounts =
            fs::read_to_string("/proc/self/mounts").map_err(DatapathError::file("/proc/self/mounts"))?;
        let cgroup_root = mount_of(&mounts, "cgroup2").ok_or_else(|| {
            missing("a mounted cgroup v2 hierarchy", "mount it: mount -t cgroup2 none /sys/fs/cgroup")
        })?;
        let bpffs = match mount_of(&mounts, "bpf") {
            Some(path) => path,
            None => mount_bpffs(Path::new("/sys/fs/bpf"))?,
        };
        let cgroup = fs::File::open(&cgroup_root).map_err(DatapathError::file(&cgroup_root))?.into();
        Ok(Self { cgroup_root, bpffs, cgroup })
    }

    /// The cgroup v2 root.
    pub(crate) fn cgroup(&self) -> BorrowedFd<'_> {
        self.cgroup.as_fd()
    }

    /// The id of a cgroup below the root; `None` if there is no such cgroup. The kernel uses the
    /// inode number of its folder (`cgroup_id` in include/linux/cgroup.h).
    pub fn cgroup_id(&self, path: &str) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        let found = fs::metadata(self.cgroup_root.join(path)).ok()?;
        found.is_dir().then(|| found.ino())
    }
}

fn missing(what: &str, remedy: &str) -> DatapathError {
    DatapathError::Kernel { missing: what.to_owned(), remedy: remedy.to_owned() }
}

fn version_of(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The first mount point of a file system type in the text of /proc/self/mounts.
fn mount_of(mounts: &str, kind: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, found) = (fields.nth(1)?, fields.next()?);
        (found == kind).then(|| PathBuf::from(point.replace("\\040", " ")))
    })
}

fn mount_bpffs(at: &Path) -> Result<PathBuf, DatapathError> {
    fs::create_dir_all(at).map_err(DatapathError::file(at))?;
    let point = CString::new(at.as_os_str().as_encoded_bytes())
        .map_err(|error| DatapathError::File { path: at.into(), source: error.into() })?;
    // SAFETY: all strings are NUL-terminated and outlive the call.
    let result = unsafe {
        libc::mount(c"bpf".as_ptr(), point.as_ptr(), c"bpf".as_ptr(), 0, c"mode=0700".as_ptr().cast())
    };
    if result != 0 {
        let source = std::io::Error::last_os_error();
        return Err(missing(
            &format!("a BPF file system (mounting one at {} failed: {source})", at.display()),
            "mount it: mount -t bpf bpf /sys/fs/bpf",
        ));
    }
    tracing::info!(path = %at.display(), "mounted the BPF file system");
    Ok(at.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_type() {
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_of(mounts, "cgroup2"), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_of(mounts, "bpf"), None);
    }

    #[test]
    fn a_release_is_read_up_to_its_minor_version() {
        assert_eq!(version_of("6.18.44-fc\n"), (6, 18));
        assert_eq!(version_of("7.0"), (7, 0));
        assert_eq!(version_of("nonsense"), (0, 0));
    }
}
