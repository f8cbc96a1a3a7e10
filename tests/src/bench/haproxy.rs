//! haproxy between the ends, as a proxy of TCP with one worker.

use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::process::Command;

use anyhow::Result;

use super::process::Process;
use super::stage::Stage;
use crate::netns::Namespace;

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
pub(crate) struct Haproxy(Process);

impl Haproxy {
    /// Starts it in a namespace and waits until it listens.
    pub(crate) fn start(stage: &Stage, namespace: &Namespace, duty: &Duty<'_>) -> Result<Self> {
        let config = stage.write(&format!("{}.cfg", duty.name), &duty.config())?;
        let mut command = Command::new("haproxy");
        // In the foreground: one process with one thread.
        command.arg("-db").arg("-f").arg(&config);
        Process::start(stage, namespace, duty.name, command, (duty.processor, duty.listen)).map(Self)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.0.id()
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
