//! Processor time, from the scheduler's own accounts.
//!
//! The kernel charges work in soft interrupts to the task that it interrupts, unless it is built with
//! `CONFIG_IRQ_TIME_ACCOUNTING` or hands that work to ksoftirqd: so the sum of both ends and
//! ksoftirqd is what a load costs.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Tasks whose time counts.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(Vec<u32>);

impl Tasks {
    /// Some processes (their first threads) and ksoftirqd of every processor.
    pub(crate) fn new(processes: &[u32]) -> Self {
        let mut tasks = processes.to_vec();
        tasks.extend(soft_interrupt_threads());
        Self(tasks)
    }

    /// What they have used since each began.
    pub(crate) fn used(&self) -> Result<Duration> {
        self.0.iter().map(|task| used_by(*task)).sum()
    }
}

/// What all threads of a process have used.
pub(crate) fn used_by_threads(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/task");
    let threads = fs::read_dir(&path).with_context(|| format!("cannot list {path}"))?;
    threads.map(|thread| read(&format!("{}/schedstat", thread?.path().display()))).sum()
}

fn used_by(task: u32) -> Result<Duration> {
    read(&format!("/proc/{task}/schedstat"))
}

fn read(path: &str) -> Result<Duration> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(first.with_context(|| format!("{path} does not begin with a number"))?))
}

/// None in a PID namespace of our own.
fn soft_interrupt_threads() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            name.starts_with("ksoftirqd/").then_some(process)
        })
        .collect()
}
