//! A server of another project, or our own, on one processor.

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
const PATIENCE: Duration = Duration::from_secs(20);

/// A running one; it ends on drop.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it in a namespace on one processor, and waits until it listens. What it says goes into a
    /// file of its name.
    pub(crate) fn start(
        stage: &Stage,
        namespace: &Namespace,
        name: &str,
        mut command: Command,
        (processor, listen): (usize, SocketAddrV4),
    ) -> Result<Self> {
        let log_path = stage.folder().join(format!("{name}.log"));
        let log = File::create(&log_path)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = namespace.within(|| {
            on(processor)?;
            command.spawn().with_context(|| format!("cannot run {}", command.get_program().display()))
        })?;
        let mut process = Self { child };
        let listens = wait::until_true(&format!("{name} listens"), PATIENCE, || {
            if let Some(status) = process.child.try_wait()? {
                bail!("it ended with {status}");
            }
            namespace.within(|| Ok(TcpStream::connect(listen).is_ok()))
        });
        listens.with_context(|| {
            format!("{name}, its log:\n{}", fs::read_to_string(&log_path).unwrap_or_default())
        })?;
        Ok(process)
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

/// Puts this thread, which is a namespace's own, and what it starts on one processor.
pub(crate) fn on(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor).context("no such processor")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("cannot choose a processor")
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself. Some have workers, which end with their master's word.
        let id = i32::try_from(self.child.id()).map(Pid::from_raw);
        if let Ok(id) = id
            && nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).is_ok()
            && wait::until("it ends", Duration::from_secs(5), || Ok(self.child.try_wait()?)).is_ok()
        {
            return;
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
