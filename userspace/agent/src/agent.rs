//! What the agent's tasks share: the data path, the published policy, the log of flows.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use windrose_datapath::Datapath;

use crate::answers;
use crate::config::Config;
use crate::enforce::Trigger;
use crate::flow_log::FlowLog;
use crate::metrics::Floor;
use crate::snapshot::Snapshot;
use crate::statistics::Statistics;

/// Shared by every task.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Blocking calls of some milliseconds: taken by threads and blocking tasks only, never across
    /// an await.
    datapath: Mutex<Datapath>,
    published: watch::Sender<Arc<Snapshot>>,
    triggers: SyncSender<Trigger>,
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
    pub(crate) fn new(datapath: Datapath, config: Config, triggers: SyncSender<Trigger>) -> Self {
        Self {
            datapath: Mutex::new(datapath),
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
    pub(crate) fn datapath(&self) -> MutexGuard<'_, Datapath> {
        self.datapath.lock().unwrap_or_else(PoisonError::into_inner)
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
