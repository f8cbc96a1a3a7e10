//! What the agent's tasks share: the data path, the published policy, the log of flows.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use windrose_datapath::{Datapath, DatapathError};

use crate::answers;
use crate::config::Config;
use crate::edge::Guard;
use crate::enforce::Trigger;
use crate::flow_log::FlowLog;
use crate::metrics::Floor;
use crate::north::North;
use crate::snapshot::Snapshot;
use crate::statistics::Statistics;

/// Shared by every task.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Blocking calls of some milliseconds: taken by threads and blocking tasks only, never across
    /// an await. `None`: this agent is a gateway alone.
    datapath: Option<Mutex<Datapath>>,
    /// The edge, where one is configured.
    pub(crate) edge: Option<Arc<Guard>>,
    published: watch::Sender<Arc<Snapshot>>,
    triggers: SyncSender<Trigger>,
    /// The gateway: what comes from outside, north-south.
    pub(crate) north: North,
    /// Recent events and who follows them.
    pub(crate) flow_log: FlowLog,
    /// What the last scrape showed of counters that must not go back.
    pub(crate) floor: Mutex<Floor>,
    /// What became of refused packets that are to be answered.
    pub(crate) answers: Arc<answers::Tally>,
    /// Whether a profile is under way: one at a time.
    pub(crate) is_profiling: AtomicBool,
    /// The kernel's run statistics.
    pub(crate) statistics: Statistics,
    /// How the agent runs.
    pub(crate) config: Config,
    /// When it started.
    pub(crate) started: Instant,
}

impl Agent {
    /// An agent that has published nothing.
    pub(crate) fn new(
        datapath: Option<Datapath>,
        edge: Option<Arc<Guard>>,
        north: North,
        config: Config,
        triggers: SyncSender<Trigger>,
    ) -> Self {
        Self {
            datapath: datapath.map(Mutex::new),
            edge,
            north,
            published: watch::Sender::new(Arc::new(Snapshot {
                not_ready: Some("no policy is enforced yet".to_owned()),
                ..Snapshot::default()
            })),
            triggers,
            flow_log: FlowLog::new(),
            floor: Mutex::default(),
            answers: Arc::default(),
            is_profiling: AtomicBool::new(false),
            statistics: Statistics::default(),
            config,
            started: Instant::now(),
        }
    }

    /// The data path, for blocking calls. A panic elsewhere leaves it usable: its state is in the
    /// kernel.
    ///
    /// # Errors
    ///
    /// This agent has none.
    pub(crate) fn datapath(&self) -> Result<MutexGuard<'_, Datapath>, DatapathError> {
        let datapath = self.datapath.as_ref().ok_or(DatapathError::Unused)?;
        Ok(datapath.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there is a kernel half: else this is a gateway alone.
    pub(crate) const fn has_kernel(&self) -> bool {
        self.datapath.is_some()
    }

    /// The number of the policy in force; 0: none. Without a kernel half it is counted here.
    pub(crate) fn generation(&self) -> u64 {
        self.datapath().map_or_else(|_| self.snapshot().generation, |datapath| datapath.generation())
    }

    /// Has verdicts timed from now on, or no longer; that it fails to end is told to the log.
    pub(crate) fn set_profiling(&self, is_on: bool) -> Result<(), DatapathError> {
        self.datapath()?.set_profiling(is_on).inspect_err(|error| {
            tracing::error!(error = error.with_causes(), is_on, "cannot switch the timing of verdicts");
        })
    }

    /// Ends live connections that policy no longer allows, and those whose endpoint is gone. Walks
    /// every connection.
    pub(crate) fn end_connections(&self) {
        let Ok(datapath) = self.datapath() else { return };
        for (ended, why) in [
            (datapath.end_denied(), "ended connections that policy no longer allows"),
            (datapath.end_departed(), "ended connections whose endpoint is gone"),
        ] {
            match ended {
                Ok(0) => {}
                Ok(ended) => tracing::info!(ended, "{why}"),
                Err(error) => tracing::warn!(error = error.with_causes(), "cannot walk connections"),
            }
        }
    }

    /// The policy in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.published.borrow())
    }

    /// Publishes; only the enforcer does.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.published.send_replace(Arc::new(snapshot));
    }

    /// Asks the enforcer for something. False: its queue is full, so that it will read the policy
    /// anyway, or it has ended.
    pub(crate) fn trigger(&self, trigger: Trigger) -> bool {
        match self.triggers.try_send(trigger) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Tells the enforcer to end once it has done what was asked before. False: it has ended.
    pub(crate) fn stop(&self) -> bool {
        self.triggers.send(Trigger::Stop).is_ok()
    }
}
