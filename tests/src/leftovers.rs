//! Removing what test processes that were killed have left: agents, pins, cgroups, folders.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{cgroup, programs, world};

/// Removes what is named after a process that is no more.
pub fn remove() {
    let agents = agents();
    for (process, name) in &agents {
        if is_stale(name) {
            // It may have ended since.
            let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
        }
    }
    if let Some(bpffs) = cgroup::mount_of("bpf") {
        for name in stale_below(&bpffs) {
            let Ok(agent) = programs::agent() else { return };
            // The folder is listed again by the next run if this fails.
            let _ = Command::new(agent).args(["detach", "--pins", &name]).status();
        }
    }
    if let Some(root) = cgroup::root() {
        for name in stale_below(root) {
            cgroup::remove(&root.join(name));
        }
    }
    let folder = std::env::temp_dir();
    for name in stale_below(&folder) {
        let _ = fs::remove_dir_all(folder.join(name));
    }
}

/// Entries of a folder that are of worlds of dead processes.
fn stale_below(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_stale(name))
        .collect()
}

/// `windrose-test-<pid>-<n>`, where the process is no more.
fn is_stale(name: &str) -> bool {
    name.strip_prefix(world::PREFIX)
        .and_then(|rest| rest.split_once('-'))
        .and_then(|(process, _)| process.parse::<u32>().ok())
        .is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
}

/// Running processes whose command line names a world by `--pins`, and that name.
fn agents() -> Vec<(i32, String)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            let at = words.iter().position(|word| *word == b"--pins")?;
            let name = String::from_utf8(words.get(at + 1)?.to_vec()).ok()?;
            name.starts_with(world::PREFIX).then_some((process, name))
        })
        .collect()
}
