//! The edge: what the agent has dropped at interfaces, kept as configured while it runs.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use windrose_datapath::abi::EdgeReason;
use windrose_datapath::{
    Capacities, DatapathError, Edge, MapFill, MapMemory, Pins, ProgramMemory, ProgramStatus,
};

use crate::refused::FaultView;

mod balance;
mod command;
mod config;
mod entries;
mod frontends;
mod keeper;
mod list;
mod lists;
mod prefix;

use balance::Balancer;
pub(crate) use balance::{BalanceSample, BalanceView, EndpointView, FrontendView, check};
#[cfg(test)]
pub(crate) use balance::{Forwarded, SourceSample};
pub(crate) use command::{EdgeArgs, run};
pub(crate) use config::{EdgeChoices, KEYS};
pub(crate) use keeper::Keeper;
use keeper::Signal;
pub(crate) use prefix::parse as parse_prefix;

/// The edge as the agent's tasks share it.
#[derive(Debug)]
pub(crate) struct Guard {
    edge: Edge,
    choices: EdgeChoices,
    published: Mutex<EdgeView>,
    /// Where it balances.
    balancer: Option<Balancer>,
    /// The keeper's, once it runs.
    signals: OnceLock<SyncSender<Signal>>,
}

/// What the edge is doing, as JSON shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeView {
    /// In the order of the configuration.
    pub(crate) interfaces: Vec<InterfaceView>,
    /// Likewise.
    pub(crate) lists: Vec<ListView>,
    /// Times that a list was refused.
    pub(crate) list_failures: u64,
    /// Balancing; absent where it is off.
    pub(crate) balance: Option<BalanceView>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InterfaceView {
    pub(crate) interface: String,
    /// `native` or `generic`; absent while the edge is not on it.
    pub(crate) mode: Option<String>,
    /// Why this mode, or why not at all.
    pub(crate) why: String,
}

/// A deny list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListView {
    /// As the configuration names it.
    pub(crate) list: String,
    /// Entries in force; those of a list that an earlier agent has read are not known.
    pub(crate) entries: Option<usize>,
    /// When that was read, RFC 3339.
    pub(crate) read_at: Option<String>,
    /// Why what is on disk is not in force; empty if it is.
    pub(crate) faults: Vec<FaultView>,
}

/// What a scrape shows of the edge.
#[derive(Debug, Clone)]
pub(crate) struct EdgeSample {
    pub(crate) view: EdgeView,
    pub(crate) counts: Vec<(EdgeReason, u64)>,
    pub(crate) maps: Vec<MapFill>,
    pub(crate) programs: Vec<ProgramStatus>,
    pub(crate) memory: Vec<MapMemory>,
    pub(crate) balance: Option<BalanceSample>,
}

impl Guard {
    /// Loads the edge; nothing is attached. `None`: none is configured, and one that an earlier
    /// agent has left is taken off.
    pub(crate) fn open(
        pins: &Pins,
        capacities: &Capacities,
        choices: &EdgeChoices,
    ) -> Result<Option<Arc<Self>>> {
        if !choices.is_wanted() {
            let interfaces =
                Edge::remove(pins).context("cannot take the edge off, which is no longer configured")?;
            if interfaces > 0 {
                tracing::warn!(interfaces, "the edge is no longer configured: taken off");
            }
            return Ok(None);
        }
        let edge = Edge::open(pins, capacities, choices.compile()).context("cannot open the edge")?;
        Ok(Some(Arc::new(Self {
            edge,
            choices: choices.clone(),
            published: Mutex::default(),
            balancer: choices.balance.is_wanted().then(Balancer::default),
            signals: OnceLock::new(),
        })))
    }

    /// What it is doing.
    pub(crate) fn view(&self) -> EdgeView {
        EdgeView { balance: self.balance_view(), ..self.published().clone() }
    }

    /// Has the lists read again, as if their files had changed.
    pub(crate) fn read_lists(&self) {
        if let Some(signals) = self.signals.get() {
            // A full queue holds the same already.
            let _ = signals.try_send(Signal::Files);
        }
    }

    /// Asks the kernel; blocks for some milliseconds.
    pub(crate) fn sample(&self) -> Result<EdgeSample, DatapathError> {
        Ok(EdgeSample {
            view: self.view(),
            counts: self.edge.counts()?,
            maps: self.edge.map_fill()?,
            programs: self.edge.programs()?,
            memory: self.edge.map_memory()?,
            balance: self.balance_sample()?,
        })
    }

    /// Frames by what became of them; no entry is counted, of which there may be millions.
    pub(crate) fn counts(&self) -> Result<Vec<(EdgeReason, u64)>, DatapathError> {
        self.edge.counts()
    }

    /// What the kernel says of each program.
    pub(crate) fn programs(&self) -> Result<Vec<ProgramStatus>, DatapathError> {
        self.edge.programs()
    }

    /// What each program takes of the kernel's memory.
    pub(crate) fn program_memory(&self) -> Result<Vec<ProgramMemory>, DatapathError> {
        self.edge.program_memory()
    }

    fn published(&self) -> MutexGuard<'_, EdgeView> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
