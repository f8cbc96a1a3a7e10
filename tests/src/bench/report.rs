//! What a run leaves: every sample, as JSON.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::{fs, thread};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::ground::Place;
use super::numbers::{self, nanoseconds};
use super::options::{Options, Processors};
use super::pair::Measured;

/// What is measured against what; each benchmark has its own.
pub(crate) trait Case: Copy + Debug + PartialEq + Serialize + DeserializeOwned + 'static {
    /// For tables.
    fn title(self) -> String;

    /// Reading order.
    fn order(self) -> (u8, usize);

    /// Whose mean speed in the same round is 1; nobody's for the first case of all.
    fn baseline(self) -> &'static [Self];
}

/// One that is measured in several sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool<C> {
    pub(crate) title: &'static str,
    pub(crate) case: fn(usize) -> C,
}

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report<C> {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) slice_ms: u64,
    pub(crate) processors: Processors,
    pub(crate) samples: Vec<Sample<C>>,
    /// How long it took to put a case in force, each time.
    pub(crate) starts: Vec<Start<C>>,
    pub(crate) hooks: Vec<HookCost>,
}

/// Where it ran.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    /// Tasks that wanted to run on average, in the minute before the run and in its last one.
    pub(crate) load_before: f64,
    pub(crate) load_after: f64,
    /// Other agents that were seen to enforce meanwhile.
    pub(crate) disturbed_by: BTreeSet<String>,
}

/// One load under one case in one place in one round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample<C> {
    pub(crate) round: usize,
    pub(crate) case: C,
    pub(crate) place: Place,
    pub(crate) load: LoadKind,
    pub(crate) measured: Measured,
}

/// A case put in force.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Start<C> {
    pub(crate) case: C,
    pub(crate) took_ms: u64,
}

/// A program's own time under a load, by the kernel's statistics.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HookCost {
    pub(crate) place: Place,
    /// Of rules or services.
    pub(crate) size: usize,
    pub(crate) program: String,
    pub(crate) load: LoadKind,
    pub(crate) runs: u64,
    pub(crate) time_ns: u64,
    /// Connections, exchanges or bytes.
    pub(crate) count: u64,
}

/// What the ends do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadKind {
    /// Connections one after the other: connect, one byte there and back, close.
    Connections,
    /// Requests and responses of so many bytes each, one at a time on each of some connections.
    Exchanges { bytes: usize, connections: usize },
    /// One stream in writes of so many bytes.
    Stream { bytes: usize },
}

impl LoadKind {
    /// 64 bytes on one connection.
    pub(crate) const EXCHANGES: Self = Self::Exchanges { bytes: 64, connections: 1 };

    /// Writes of 64 KiB.
    pub(crate) const STREAM: Self = Self::Stream { bytes: 64 << 10 };

    /// What most benchmarks measure.
    pub(crate) const USUAL: [Self; 3] = [Self::Connections, Self::EXCHANGES, Self::STREAM];

    /// For headings and targets.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections per second",
            Self::Exchanges { .. } => "request-response",
            Self::Stream { .. } => "bulk",
        }
    }

    /// How much of it at once.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Connections => "one after the other".to_owned(),
            Self::Exchanges { bytes, connections: 1 } => format!("{}, 1 connection", numbers::bytes(bytes)),
            Self::Exchanges { bytes, connections } => {
                format!("{}, {connections} connections", numbers::bytes(bytes))
            }
            Self::Stream { bytes } => format!("writes of {}", numbers::bytes(bytes)),
        }
    }

    /// What the count is of, and how many of it make one.
    pub(crate) const fn unit(self) -> (&'static str, u64) {
        match self {
            Self::Connections => ("connection", 1),
            Self::Exchanges { .. } => ("exchange", 1),
            Self::Stream { .. } => ("MiB", 1 << 20),
        }
    }
}

impl Machine {
    /// This one, before a run.
    pub(crate) fn look() -> Self {
        let load = load_average();
        Self {
            processors: thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load_before: load,
            load_after: load,
            disturbed_by: BTreeSet::new(),
        }
    }

    /// After the run.
    pub(crate) fn look_again(&mut self) {
        self.load_after = load_average();
    }
}

impl<C> Report<C> {
    /// Of nothing yet.
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            machine: Machine::look(),
            rounds: options.rounds,
            slice_ms: nanoseconds(options.slice) / 1_000_000,
            processors: options.processors,
            samples: Vec::new(),
            starts: Vec::new(),
            hooks: Vec::new(),
        }
    }
}

/// Of the last minute; 0 if the kernel does not say.
fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
