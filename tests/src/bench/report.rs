//! What a run leaves: every sample, as JSON.

use serde::{Deserialize, Serialize};

use super::ground::Place;
use super::nftables::Layout;
use super::numbers::grouped;
use super::options::Processors;
use super::pair::Loads;

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) slice_ms: u64,
    pub(crate) processors: Processors,
    pub(crate) samples: Vec<Sample>,
    /// How long it took to put rules in force, each time.
    pub(crate) starts: Vec<Start>,
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
    pub(crate) disturbed_by: Vec<String>,
}

/// What is measured against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Configuration {
    /// No agent.
    Nothing,
    /// No agent once more, at another time of the round: what differs from [`Self::Nothing`] is noise.
    NothingAgain,
    /// Windrose.
    Windrose { rules: usize },
    /// Windrose, its `/metrics` and `/connections` read four times a second.
    Watched { rules: usize },
    /// nftables; stateful: with connection tracking.
    Nftables { layout: Layout, stateful: bool, rules: usize },
}

impl Configuration {
    /// For tables.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Nothing => "no agent".to_owned(),
            Self::NothingAgain => "no agent, again".to_owned(),
            Self::Windrose { rules } => format!("Windrose, {} rules", grouped(rules)),
            Self::Watched { rules } => format!("Windrose, {} rules, watched", grouped(rules)),
            Self::Nftables { layout, stateful, rules } => {
                let layout = if layout == Layout::Chains { "chains" } else { "sets" };
                let state = if stateful { "" } else { ", stateless" };
                format!("nftables {layout}, {} rules{state}", grouped(rules))
            }
        }
    }
}

/// One configuration in one place in one round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) configuration: Configuration,
    pub(crate) place: Place,
    #[serde(flatten)]
    pub(crate) loads: Loads,
}

/// Rules put in force.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) configuration: Configuration,
    pub(crate) took_ms: u64,
}

/// A program's own time under a load, by the kernel's statistics.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HookCost {
    pub(crate) place: Place,
    pub(crate) rules: usize,
    pub(crate) program: String,
    pub(crate) load: LoadKind,
    pub(crate) runs: u64,
    pub(crate) time_ns: u64,
    /// Connections, exchanges or bytes.
    pub(crate) count: u64,
}

/// What is done while hooks are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LoadKind {
    Connections,
    Exchanges,
    Stream,
}

impl LoadKind {
    pub(crate) const ALL: [Self; 3] = [Self::Connections, Self::Exchanges, Self::Stream];

    /// What the count is of, and how many of it make one.
    pub(crate) const fn unit(self) -> (&'static str, u64) {
        match self {
            Self::Connections => ("connection", 1),
            Self::Exchanges => ("exchange", 1),
            Self::Stream => ("MiB", 1 << 20),
        }
    }
}
