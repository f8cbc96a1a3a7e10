//! Network namespaces that live as long as a file descriptor of this process: nothing is left of
//! them when it ends, however it ends.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::thread;
use std::{io::Write as _, process};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with its loopback up and tuned for tests.
    pub fn new() -> Result<Self> {
        let file = thread::spawn(|| -> Result<File> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot open the new network namespace")
        })
        .join()
        .map_err(|_| anyhow!("the thread that makes a network namespace panicked"))??;
        let namespace = Self { file };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Runs `work` on a thread of this namespace. Sockets that it opens and processes that it starts
    /// are in the namespace for good.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)
                        .context("cannot enter a network namespace")?;
                    work()
                })
                .join()
                .map_err(|_| anyhow!("a thread in a network namespace panicked"))?
        })
    }

    /// Runs lines of `ip -batch` in it.
    pub fn ip(&self, batch: &str) -> Result<()> {
        self.within(|| {
            let mut ip = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .context("cannot run ip (package iproute2)")?;
            ip.stdin.take().context("ip has no input")?.write_all(batch.as_bytes())?;
            let output = ip.wait_with_output()?;
            if !output.status.success() {
                bail!("ip -batch failed on\n{batch}\n{}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(())
        })
    }

    /// Sets a kernel parameter below /proc/sys/net.
    pub fn set(&self, parameter: &str, value: &str) -> Result<()> {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.within(|| {
            let path = format!("/proc/sys/net/{parameter}");
            std::fs::write(&path, value).with_context(|| format!("cannot write {path}"))
        })
    }

    /// A path by which other processes can name it while this one lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", process::id(), self.file.as_raw_fd())
    }
}
