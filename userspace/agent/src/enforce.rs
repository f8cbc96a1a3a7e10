//! The enforcer: the one thread that reads policy, compiles it and puts it in force.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;
use windrose_datapath::{Applied, DatapathError, difference};

use crate::agent::Agent;
use crate::clock::rfc3339;
use crate::refused::{FaultView, Refused};
use crate::snapshot::{Counts, Reload, Snapshot};
use crate::watch::Watch;

mod policy;

pub(crate) use policy::{Policy, Read};

/// Files that change together are read together: so long must they be quiet.
const QUIET: Duration = Duration::from_millis(100);

/// However busy the files are, they are read after so long.
const PATIENCE: Duration = Duration::from_millis(400);

/// A connection whose handshake was under way when policy changed is found by a second walk.
const SECOND_WALK: Duration = Duration::from_millis(250);

/// Why policy is to be read.
#[derive(Debug)]
pub(crate) enum Trigger {
    /// Files have changed.
    Files,
    /// SIGHUP.
    Signal,
    /// An operator asks, and waits for the outcome.
    Asked(oneshot::Sender<Reload>),
    /// The host's addresses have changed to these.
    Hosts(Vec<IpAddr>),
    /// The agent ends.
    Stop,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Enforcer {
    agent: Arc<Agent>,
    policy: Policy,
    watch: Watch,
    is_attached: bool,
    /// The kernel holds what the compiler last said; else the pinned tables are read and compared.
    is_in_step: bool,
    walk_again: Option<Instant>,
    waiting: VecDeque<Trigger>,
    warned: Vec<FaultView>,
}

/// What putting a policy in force did.
struct Enforced {
    applied: Applied,
    ended: usize,
}

impl Enforcer {
    /// An enforcer that has enforced nothing yet.
    pub(crate) fn new(agent: Arc<Agent>, policy: Policy, watch: Watch) -> Self {
        Self {
            agent,
            policy,
            watch,
            is_attached: false,
            is_in_step: false,
            walk_again: None,
            waiting: VecDeque::new(),
            warned: Vec::new(),
        }
    }

    /// Puts in force what was read at the start, or publishes why not.
    pub(crate) fn start(&mut self, read: Result<Read, Refused>) -> Reload {
        self.enforce(read)
    }

    /// Works until it is told to stop, or nobody is left to tell it.
    pub(crate) fn run(mut self, triggers: &Receiver<Trigger>) {
        while let Some(trigger) = self.next(triggers) {
            match trigger {
                Trigger::Files => {
                    self.settle(triggers);
                    self.watch.renew(self.policy.paths());
                    self.reload();
                }
                Trigger::Signal => {
                    let now = sd_notify::NotifyState::monotonic_usec_now();
                    let states = [Some(sd_notify::NotifyState::Reloading), now.ok()];
                    notify(&states.into_iter().flatten().collect::<Vec<_>>());
                    self.reload();
                    notify(&[sd_notify::NotifyState::Ready]);
                }
                Trigger::Asked(answer) => {
                    // Whoever asked may have gone away.
                    let _ = answer.send(self.reload());
                }
                Trigger::Hosts(addresses) => {
                    tracing::info!(?addresses, "the addresses of this host have changed");
                    let read = self.policy.with_hosts(addresses, self.generation());
                    self.enforce(read);
                }
                Trigger::Stop => return,
            }
        }
    }

    /// The next trigger; ends connections for a second time when that is due.
    fn next(&mut self, triggers: &Receiver<Trigger>) -> Option<Trigger> {
        loop {
            if let Some(trigger) = self.waiting.pop_front() {
                return Some(trigger);
            }
            let Some(at) = self.walk_again else { return triggers.recv().ok() };
            match triggers.recv_timeout(at.saturating_duration_since(Instant::now())) {
                Ok(trigger) => return Some(trigger),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.walk_again = None;
                    self.agent.end_connections();
                }
            }
        }
    }

    /// Waits until no file has changed for a while.
    fn settle(&mut self, triggers: &Receiver<Trigger>) {
        let last = Instant::now() + PATIENCE;
        loop {
            let wait = QUIET.min(last.saturating_duration_since(Instant::now()));
            match triggers.recv_timeout(wait) {
                Ok(Trigger::Files) if !wait.is_zero() => {}
                Ok(Trigger::Files) | Err(_) => return,
                Ok(other) => {
                    self.waiting.push_back(other);
                    return;
                }
            }
        }
    }

    /// Of the policy in force.
    fn generation(&self) -> u64 {
        self.agent.generation()
    }

    fn reload(&mut self) -> Reload {
        let read = self.policy.read(self.generation());
        self.enforce(read)
    }

    fn enforce(&mut self, read: Result<Read, Refused>) -> Reload {
        let at = rfc3339(SystemTime::now());
        let outcome = read.and_then(|read| match self.put_in_force(&read) {
            Ok(enforced) => Ok((read, enforced)),
            Err(error) => {
                self.policy.take_back(read.before);
                self.is_in_step = false;
                Err(Refused::because(error.with_causes()))
            }
        });
        match outcome {
            Ok((read, enforced)) => self.succeeded(at, read, &enforced),
            Err(refused) => self.failed(at, refused),
        }
    }

    fn put_in_force(&mut self, read: &Read) -> Result<Enforced, DatapathError> {
        if !self.agent.has_kernel() {
            let generation = self.generation() + 1;
            let applied = Applied { generation, changes: read.changes.len(), took: Duration::ZERO };
            return Ok(Enforced { applied, ended: 0 });
        }
        let mut datapath = self.agent.datapath()?;
        let tables = self.policy.compiler().tables();
        let applied = if self.is_in_step {
            datapath.apply(&read.changes, tables)?
        } else {
            let pinned = datapath.pinned_tables()?;
            datapath.apply(&difference(&pinned, tables), tables)?
        };
        if !self.is_attached {
            datapath.attach()?;
            self.is_attached = true;
            let found = datapath.adopt_connections()?;
            tracing::info!(found, adopted = datapath.is_adopted(), "attached");
        }
        let ended = datapath.end_denied()?;
        let departed = datapath.end_departed()?;
        if departed != 0 {
            tracing::info!(ended = departed, "ended connections whose endpoint is gone");
        }
        self.is_in_step = true;
        self.walk_again = Some(Instant::now() + SECOND_WALK);
        Ok(Enforced { applied, ended })
    }

    fn succeeded(&mut self, at: String, read: Read, enforced: &Enforced) -> Reload {
        let before = self.agent.snapshot();
        let model = Arc::clone(self.policy.compiler().model());
        if let Some(edge) = &self.agent.edge {
            edge.expose(&model);
        }
        self.agent.north.publish(&model);
        let counts = Counts::of(&model);
        let Enforced { applied, ended } = enforced;
        if self.warned != read.warnings {
            for warning in &read.warnings {
                tracing::warn!(place = %place(warning), "{}", warning.message);
            }
        }
        self.warned.clone_from(&read.warnings);
        tracing::info!(
            generation = applied.generation,
            workloads = counts.workloads,
            policies = counts.policies,
            rules = counts.rules,
            changes = applied.changes,
            compile_ms = millis(read.took),
            verify_ms = millis(read.verify),
            witnesses = read.verified.witnesses,
            classes = read.verified.classes,
            verified_whole = read.verified.complete,
            apply_ms = millis(applied.took),
            ended_connections = ended,
            warnings = read.warnings.len(),
            "policy in force"
        );
        let reload = Reload {
            at,
            ok: true,
            faults: read.warnings,
            compile_ms: millis(read.took),
            verify_ms: millis(read.verify),
            apply_ms: millis(applied.took),
            ended_connections: *ended,
        };
        self.agent.publish(Snapshot {
            book: Arc::new(before.book.next(self.policy.compiler())),
            model,
            host_addresses: self.policy.host_addresses().into(),
            generation: applied.generation,
            not_ready: None,
            counts,
            last_reload: Some(reload.clone()),
            reloads: before.reloads + 1,
            reload_failures: before.reload_failures,
            verified: Some(read.verified),
            compile: read.took,
            verify: read.verify,
            apply: applied.took,
        });
        reload
    }

    fn failed(&self, at: String, refused: Refused) -> Reload {
        let before = self.agent.snapshot();
        let generation = self.generation();
        // With no policy in force the agent does not start, and says why at its end.
        if generation != 0 {
            for fault in &refused.faults {
                if fault.is_warning() {
                    tracing::warn!(place = %place(fault), "{}", fault.message);
                } else {
                    tracing::error!(place = %place(fault), "{}", fault.message);
                }
            }
            let faults = refused.faults.len();
            tracing::error!(
                faults,
                generation,
                "the policy is refused; the one in force stays until the files are mended"
            );
        }
        let reload = Reload {
            at,
            ok: false,
            faults: refused.faults,
            compile_ms: 0,
            verify_ms: 0,
            apply_ms: 0,
            ended_connections: 0,
        };
        let not_ready = before.not_ready.is_some().then(|| {
            "the policy on disk is refused; what a former agent left in the kernel is enforced".to_owned()
        });
        self.agent.publish(Snapshot {
            generation,
            not_ready,
            last_reload: Some(reload.clone()),
            reload_failures: before.reload_failures + 1,
            ..Snapshot::clone(&before)
        });
        reload
    }
}

/// Tells the service manager, where there is one.
pub(crate) fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn place(fault: &FaultView) -> String {
    match &fault.file {
        Some(file) if fault.line == 0 => file.clone(),
        Some(file) => format!("{file}:{}:{}", fault.line, fault.column),
        None => "-".to_owned(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
