//! The edge: what the agent has dropped at interfaces, kept as configured while it runs.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use windrose_datapath::abi::EdgeReason;
use windrose_datapath::{
    Capacities, DatapathError, Edge, MapFill, MapMemory, Pins, ProgramMemory, ProgramStatus,
};

use crate::refused::FaultView;

mod balance;
mod command;
mod config;
mod entries;
mod fetch;
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
use fetch::Fetch;
pub(crate) use fetch::{FetchView, fetch};
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
    /// For each list of the configuration that is named by URL.
    fetches: Vec<Option<Arc<Fetch>>>,
    /// Marked when they are to be fetched now.
    fetch_again: watch::Sender<()>,
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
    /// Why what is on disk, or was fetched, is not in force; empty if it is.
    pub(crate) faults: Vec<FaultView>,
    /// How it is fetched; absent for a file.
    pub(crate) fetch: Option<FetchView>,
}

impl ListView {
    /// Whether what is on disk, or at its URL, is in force.
    pub(crate) fn is_ready(&self) -> bool {
        let fetched = |fetch: &FetchView| fetch.error.is_none() && fetch.confirmed_at.is_some();
        self.faults.is_empty() && self.fetch.as_ref().is_none_or(fetched)
    }

    /// How it stands, for people.
    pub(crate) fn state(&self) -> String {
        // Seconds are enough.
        let second =
            |time: &Option<String>| time.as_ref().map(|time| format!("{}Z", time.get(..19).unwrap_or(time)));
        if let Some(fault) = self.faults.first() {
            return format!("refused: {fault}");
        }
        let Some(fetch) = &self.fetch else { return "in force".to_owned() };
        match (second(&fetch.confirmed_at), &fetch.error) {
            (Some(at), None) => format!("in force, as of {at}"),
            (Some(at), Some(error)) => format!("kept as of {at}: {error}"),
            (None, None) => "not fetched yet".to_owned(),
            (None, Some(error)) => format!("not fetched yet: {error}"),
        }
    }
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
    /// agent has left is taken off. Copies of fetched lists are below `state`.
    pub(crate) fn open(
        pins: &Pins,
        capacities: &Capacities,
        choices: &EdgeChoices,
        state: &Path,
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
            fetches: choices.lists.iter().map(|choice| Fetch::open(choice, state)).collect(),
            fetch_again: watch::Sender::new(()),
            published: Mutex::default(),
            balancer: choices.balance.is_wanted().then(Balancer::default),
            signals: OnceLock::new(),
        })))
    }

    /// What it is doing.
    pub(crate) fn view(&self) -> EdgeView {
        let mut view = EdgeView { balance: self.balance_view(), ..self.published().clone() };
        for (list, fetch) in view.lists.iter_mut().zip(&self.fetches) {
            list.fetch = fetch.as_ref().map(|fetch| fetch.view());
        }
        view
    }

    /// Has the lists read again, as if their files had changed, and fetched.
    pub(crate) fn read_lists(&self) {
        self.tell(Signal::Files);
        self.fetch_again.send_replace(());
    }

    /// Whether lists are to be fetched.
    pub(crate) fn is_fetching(&self) -> bool {
        self.fetches.iter().any(Option::is_some)
    }

    fn tell(&self, signal: Signal) {
        if let Some(signals) = self.signals.get() {
            // A full queue is worked off by somebody who looks at everything.
            let _ = signals.try_send(signal);
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
