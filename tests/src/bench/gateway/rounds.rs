//! A run: everything stands, and is measured in turns, round after round.

use std::fs;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::case::{Case, Load};
use super::h2load::{self, Turn};
use super::proxies;
use crate::bench::cpu;
use crate::bench::numbers::nanoseconds;
use crate::bench::options::Options;
use crate::bench::process::Process;
use crate::bench::report::{Machine, Report as Usual};
use crate::bench::stage::{self, Stage};
use crate::netns::Namespace;

/// A run's numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) rounds: usize,
    pub(super) samples: Vec<Sample>,
    /// After everything.
    pub(super) memory: Vec<(Case, u64)>,
}

/// One load through one proxy in one round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) round: usize,
    pub(super) case: Case,
    pub(super) load: Load,
    pub(super) turn: Turn,
    /// Of the proxy's processes.
    pub(super) cpu_ns: u64,
}

/// Measures everything.
pub(super) fn measure(options: &Options) -> Result<Report> {
    let stage = Stage::new(options.processors)?;
    let namespace = Namespace::new()?;
    namespace.set("ipv4/ip_local_port_range", "30000 65000")?;
    namespace.set("ipv4/tcp_tw_reuse", "1")?;
    let _server = proxies::server(&stage, &namespace)?;
    let mut running = Vec::new();
    for case in Case::ALL {
        running.push((case, proxies::start(&stage, &namespace, case)?));
    }
    let proxy = |case| running.iter().find(|(this, _)| *this == case).map(|(_, process)| process);
    let mut usual = Usual::<()>::new(options);
    let mut samples = Vec::new();
    stage::in_turns(&mut usual, Case::ALL.to_vec(), |case, round, _| {
        let process = proxy(case).context("not started")?;
        for load in Load::ALL {
            let port = if load.is_tls() { case.ports().1 } else { case.ports().0 };
            let (requests, connections) = load.amount();
            // A slice of 300 ms is some 40,000 small requests a second through the slowest.
            let share = u64::try_from(options.slice.as_millis()).unwrap_or(300).clamp(60, 1_000);
            let requests = (requests * share / 1_000).max(1);
            let amount = (requests, connections.min(requests));
            let before = used(process)?;
            let turn = h2load::run(&namespace, stage.folder(), load, port, amount)
                .with_context(|| format!("{}, {}", case.title(), load.title()))?;
            let cpu_ns = used(process)?.saturating_sub(before);
            samples.push(Sample { round, case, load, turn, cpu_ns });
        }
        Ok(())
    })?;
    usual.machine.look_again();
    let memory = running.iter().map(|(case, process)| Ok((*case, resident(process)?)));
    let memory = memory.collect::<Result<_>>()?;
    Ok(Report { machine: usual.machine, rounds: options.rounds, samples, memory })
}

/// A process and its children.
fn family(process: &Process) -> Vec<u32> {
    let id = process.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).chain([id]).collect()
}

fn used(process: &Process) -> Result<u64> {
    family(process).into_iter().map(|id| Ok(nanoseconds(cpu::used_by_threads(id)?))).sum()
}

/// Bytes that are in memory.
fn resident(process: &Process) -> Result<u64> {
    let of = |id: u32| {
        let path = format!("/proc/{id}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{path} has no VmRSS"))? << 10)
    };
    family(process).into_iter().map(of).sum()
}
