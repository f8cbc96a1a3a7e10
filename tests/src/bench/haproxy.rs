//! haproxy between the ends, as a proxy of TCP with one worker.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::stage::Stage;
use crate::netns::Namespace;
use crate::wait;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one is to do.
#[derive(Debug)]
pub(crate) struct Duty<'a> {
    /// Of its files; each has its own.
    pub(crate) name: &'a str,
    pub(crate) listen: SocketAddrV4,
    pub(crate) endpoints: &'a [SocketAddrV4],
    pub(crate) processor: usize,
}

/// A running one; it ends on drop.
#[derive(Debug)]
pub(crate) struct Haproxy {
    process: Child,
}

impl Haproxy {
    /// Starts it in a namespace and waits until it listens.
    pub(crate) fn start(stage: &Stage, namespace: &Namespace, duty: &Duty<'_>) -> Result<Self> {
        let config = stage.write(&format!("{}.cfg", duty.name), &duty.config())?;
        let log_path = stage.folder().join(format!("{}.log", duty.name));
        let log = File::create(&log_path)?;
        let mut command = Command::new("haproxy");
        // In the foreground: one process with one thread.
        command.arg("-db").arg("-f").arg(&config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = namespace.within(|| {
            let mut set = CpuSet::new();
            set.set(duty.processor).context("no such processor")?;
            // Of this thread, which is the namespace's own, and so of what it starts.
            sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose a processor")?;
            command.spawn().context("cannot run haproxy (package haproxy)")
        })?;
        let mut haproxy = Self { process };
        let listens = wait::until_true("haproxy listens", PATIENCE, || {
            if let Some(status) = haproxy.process.try_wait()? {
                bail!("it ended with {status}");
            }
            namespace.within(|| Ok(TcpStream::connect(duty.listen).is_ok()))
        });
        listens.with_context(|| {
            format!("{}, its log:\n{}", duty.name, fs::read_to_string(&log_path).unwrap_or_default())
        })?;
        Ok(haproxy)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.process.id()
    }
}

impl Duty<'_> {
    /// Copying by splice where the kernel can, no checks of endpoints, no log: the least that it can do.
    fn config(&self) -> String {
        let mut servers = String::new();
        for (number, endpoint) in (1..).zip(self.endpoints) {
            // Writing to a String cannot fail.
            let _ = writeln!(servers, "  server s{number} {endpoint}");
        }
        format!(
            "global\n  nbthread 1\n  maxconn 4000\n\
             defaults\n  mode tcp\n  option splice-auto\n  option tcp-smart-accept\n  \
             timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             listen {}\n  bind {}\n  balance leastconn\n{servers}",
            self.name, self.listen
        )
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
