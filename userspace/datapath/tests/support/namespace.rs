//! Network namespaces of a test's own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use windrose_datapath::Machine;

use crate::machine::{ignored, machine};

/// The machine, if it has `ip` as well.
pub(crate) fn machine_with_ip() -> Option<Machine> {
    let machine = machine()?;
    match Command::new("ip").arg("-V").stdout(Stdio::null()).status() {
        Ok(_) => Some(machine),
        Err(error) => {
            ignored(&format!("needs ip (package iproute2): {error}"));
            None
        }
    }
}

/// Runs `work` on a thread in a network namespace that ends with it.
pub(crate) fn in_a_namespace(work: impl FnOnce() + Send) {
    let work = || {
        // SAFETY: only this thread's network namespace changes.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        work();
    };
    std::thread::scope(|scope| scope.spawn(work).join()).unwrap();
}

/// Lines for `ip -batch` in this thread's namespace.
pub(crate) fn ip(batch: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "{batch}");
}
