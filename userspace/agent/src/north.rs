//! The gateway in the agent: started when policy has something for it, told every policy, drained at
//! the end.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use windrose_gateway::workers::Options;
use windrose_gateway::{Gateway, Limits, Lines};
use windrose_policy::model::Model;
use windrose_policy::routing::{Statuses, attach};

mod log;
mod requests;
mod view;

pub(crate) use log::Requests;
pub(crate) use requests::run as follow;
#[cfg(test)]
pub(crate) use view::{ConditionView, ListenerView, ObjectView, ParentView};
pub(crate) use view::{GatewayView, text};

/// How the gateway runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choices {
    /// `gateway.workers`: threads; 0 is one for each processor. 0.
    pub(crate) workers: usize,
    /// `gateway.access_log`: a file, or `-` for standard output; none.
    pub(crate) access_log: Option<PathBuf>,
    /// `gateway.drain_seconds`: how long exchanges that have begun may take when their listener or the
    /// agent ends, 0 to 3,600; 30.
    pub(crate) drain: Duration,
}

impl Default for Choices {
    fn default() -> Self {
        Self { workers: 0, access_log: None, drain: Limits::default().drain }
    }
}

/// More threads are none that a machine has.
const WORKERS: usize = 1024;

/// Keys of the configuration.
pub(crate) const KEYS: &[&str] = &["gateway.workers", "gateway.access_log", "gateway.drain_seconds"];

impl Choices {
    /// Sets a key.
    ///
    /// # Errors
    ///
    /// What is wrong with the value.
    pub(crate) fn set(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "gateway.workers" => {
                self.workers = parse_workers(text).map_err(|why| format!("{key} is `{text}`; {why}"))?;
            }
            "gateway.access_log" => self.access_log = Some(text.into()),
            _ => match text.parse() {
                Ok(seconds @ 0..=3600) => self.drain = Duration::from_secs(seconds),
                _ => return Err(format!("{key} is `{text}`; it must be a whole number from 0 to 3600")),
            },
        }
        Ok(())
    }
}

/// A number of threads.
pub(crate) fn parse_workers(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= WORKERS);
    number.ok_or_else(|| format!("it must be a whole number from 0 (one for each processor) to {WORKERS}"))
}

/// The gateway, if there is one.
#[derive(Debug)]
pub(crate) struct North {
    state: Mutex<State>,
    limits: Limits,
    workers: usize,
    /// Those who follow exchanges, and the access log.
    pub(crate) requests: Requests,
}

#[derive(Debug)]
struct State {
    gateway: Option<Gateway>,
    /// Dropped at the end, so that who writes them ends, too.
    lines: Option<Lines>,
    has_warned: bool,
    /// What was told of objects that are not as they should be.
    told: Vec<String>,
}

impl North {
    /// Opens the access log, and starts nothing else yet.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub(crate) fn new(choices: &Choices) -> Result<Self> {
        let (requests, lines) = Requests::start(choices.access_log.as_deref())?;
        Ok(Self {
            state: Mutex::new(State {
                gateway: None,
                lines: Some(lines),
                has_warned: false,
                told: Vec::new(),
            }),
            limits: Limits { drain: choices.drain, ..Limits::default() },
            workers: choices.workers,
            requests,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what a model says of gateways in force. Blocks for as long as it takes to compile; requests
    /// are served meanwhile by what was in force before.
    pub(crate) fn publish(&self, model: &Model) {
        let mut state = self.state();
        if state.gateway.is_none() && !model.gateways.is_empty() && !attach(model).binds.is_empty() {
            self.start(&mut state);
        }
        let statuses = match &state.gateway {
            Some(gateway) => {
                gateway.publish(model);
                gateway.statuses()
            }
            None if model.gateways.is_empty() => return,
            None => attach(model).statuses,
        };
        let faults = view::faults(&statuses);
        for fault in faults.iter().filter(|fault| !state.told.contains(fault)) {
            tracing::warn!("{fault}");
        }
        state.told = faults;
        if let Some(workload) = own_workload(model)
            && !std::mem::replace(&mut state.has_warned, true)
        {
            tracing::warn!(
                workload,
                "the agent runs in the cgroup of a workload: its policy decides where the gateway may connect to, \
                 and who may connect to the gateway"
            );
        }
    }

    fn start(&self, state: &mut State) {
        raise_descriptors();
        let options = Options { workers: self.workers, limits: self.limits, lines: state.lines.clone() };
        match Gateway::start(options) {
            Ok(gateway) => {
                tracing::info!(workers = gateway.workers(), "the gateway has started");
                state.gateway = Some(gateway);
            }
            Err(error) => {
                tracing::error!(%error, "the gateway cannot be started; the next reload tries again");
            }
        }
    }

    /// Tries again to listen where that failed.
    pub(crate) fn retry(&self) {
        if let Some(gateway) = &self.state().gateway {
            gateway.retry();
        }
    }

    /// Finishes exchanges that have begun, as far as there is time, then the log.
    pub(crate) fn stop(&self) {
        let (gateway, lines) = {
            let mut state = self.state();
            (state.gateway.take(), state.lines.take())
        };
        if let Some(gateway) = gateway {
            gateway.stop();
        }
        drop(lines);
        self.requests.join();
    }

    /// The conditions of every object of these files that is ours.
    pub(crate) fn statuses(&self, model: &Model) -> Statuses {
        match &self.state().gateway {
            Some(gateway) => gateway.statuses(),
            None => attach(model).statuses,
        }
    }

    /// Looks at the gateway, if there is one.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Gateway) -> T) -> Option<T> {
        self.state().gateway.as_ref().map(look)
    }
}

/// A connection is a descriptor here and one at an endpoint; the soft limit of most machines is 1,024.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard));
    match raised {
        Ok(most) => tracing::debug!(most, "descriptors that may be open"),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open descriptors"),
    }
}

/// The workload in whose cgroup this process runs: it is then judged as that one.
fn own_workload(model: &Model) -> Option<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_own =
        |cgroup: &str| own.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let workload = model
        .workloads
        .values()
        .find(|workload| workload.cgroup.as_deref().is_some_and(|cgroup| is_own(cgroup.trim_matches('/'))))?;
    Some(format!("{}/{}", workload.name.namespace, workload.name.name))
}
