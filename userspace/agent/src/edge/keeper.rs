//! The thread that keeps the edge: on its interfaces, with its lists, without what has ended.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};

use super::lists::Lists;
use super::{Guard, InterfaceView};
use crate::watch::Watch;

/// How often interfaces and ends of entries are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Files that change together are read together: so long must they be quiet.
const QUIET: Duration = Duration::from_millis(100);

/// However busy the files are, they are read after so long.
const PATIENCE: Duration = Duration::from_millis(400);

/// Signals that wait; more of them would ask for the same again.
const SIGNALS: usize = 16;

/// What the thread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Files have changed.
    Files,
    /// A list was fetched, or could not be.
    Fetched,
    /// The agent ends.
    Stop,
}

/// The thread; it ends when it is told to.
#[derive(Debug)]
pub(crate) struct Keeper {
    thread: JoinHandle<()>,
    signals: SyncSender<Signal>,
}

impl Keeper {
    /// Puts the lists in force, then attaches; then goes on in a thread of its own.
    pub(crate) fn start(guard: Arc<Guard>) -> Result<Self> {
        let (signals, waiting) = sync_channel(SIGNALS);
        let mut work = Work { lists: Lists::new(&guard.choices.lists), guard, indices: None };
        let files = work.guard.choices.lists.iter().filter(|list| list.url.is_none());
        let paths: Vec<_> = files.map(|list| list.path.clone()).collect();
        let report = signals.clone();
        // A full queue holds the same already.
        let watch = Watch::start(&paths, move || {
            let _ = report.try_send(Signal::Files);
        });
        work.lists.load(&work.guard.edge, &work.guard.fetches, true);
        work.look();
        // Set once: one keeper a guard.
        let _ = work.guard.signals.set(signals.clone());
        let thread = thread::Builder::new()
            .name("edge".to_owned())
            .spawn(move || work.run(&waiting, watch, &paths))
            .context("cannot start the keeper of the edge")?;
        Ok(Self { thread, signals })
    }

    /// Ends the thread; the edge stays where it is.
    pub(crate) fn stop(self) -> Result<()> {
        // It has ended by itself only by a panic, which joining tells.
        let _ = self.signals.send(Signal::Stop);
        self.thread.join().map_err(|_| anyhow!("the keeper of the edge has panicked"))
    }
}

struct Work {
    guard: Arc<Guard>,
    lists: Lists,
    /// Interfaces that the edge is on.
    indices: Option<Vec<u32>>,
}

impl Work {
    fn run(mut self, waiting: &Receiver<Signal>, mut watch: Watch, paths: &[std::path::PathBuf]) {
        let mut next = Instant::now() + EVERY;
        loop {
            match waiting.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Signal::Files) => {
                    if !settle(waiting) {
                        return;
                    }
                    watch.renew(paths);
                    self.lists.load(&self.guard.edge, &self.guard.fetches, true);
                    self.publish_lists();
                }
                Ok(Signal::Fetched) => {
                    self.lists.load(&self.guard.edge, &self.guard.fetches, false);
                    self.publish_lists();
                }
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    next = Instant::now() + EVERY;
                }
            }
        }
    }

    /// Looks after everything that changes by itself.
    fn look(&mut self) {
        let attached = self.attach();
        self.guard.look_at_balancing(&attached);
        match self.guard.edge.sweep() {
            Ok(0) => {}
            Ok(ended) => tracing::info!(ended, "entries that were added have ended"),
            Err(error) => {
                tracing::warn!(error = error.with_causes(), "cannot remove entries that have ended");
            }
        }
        self.lists.drop_ended(&self.guard.edge);
        self.publish_lists();
    }

    /// Names the interfaces that the edge is on, and why not everything is balanced there.
    fn attach(&mut self) -> Vec<(String, Option<String>)> {
        let mut indices = Vec::new();
        let mut names = Vec::new();
        let mut views = Vec::new();
        for choice in &self.guard.choices.interfaces {
            let view = match self.guard.edge.attach(&choice.name, choice.mode) {
                Ok(attached) => {
                    indices.push(attached.index);
                    names.push((choice.name.clone(), attached.not_balanced));
                    let mode = if attached.is_native { "native" } else { "generic" };
                    InterfaceView {
                        interface: choice.name.clone(),
                        mode: Some(mode.to_owned()),
                        why: attached.why,
                    }
                }
                Err(error) => {
                    let why = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
                    let why = error.to_string() + &why.unwrap_or_default();
                    InterfaceView { interface: choice.name.clone(), mode: None, why }
                }
            };
            views.push(view);
        }
        indices.sort_unstable();
        if self.indices.as_ref() != Some(&indices) {
            match self.guard.edge.keep_only(&indices) {
                Ok(0) => {}
                Ok(interfaces) => {
                    tracing::info!(interfaces, "taken off interfaces that are gone or no longer named");
                }
                Err(error) => {
                    tracing::warn!(error = error.with_causes(), "cannot take the edge off an interface");
                }
            }
            if let Err(error) = self.guard.edge.lead_to(&indices) {
                tracing::warn!(error = error.with_causes(), "cannot send frames on to an interface");
            }
            self.indices = Some(indices);
        }
        let mut published = self.guard.published();
        for view in &views {
            if !published.interfaces.contains(view) {
                tell(view);
            }
        }
        published.interfaces = views;
        names
    }

    fn publish_lists(&self) {
        let mut published = self.guard.published();
        published.lists = self.lists.views();
        published.list_failures = self.lists.failures();
    }
}

/// Waits until no file has changed for a while. False: the agent ends.
fn settle(waiting: &Receiver<Signal>) -> bool {
    let last = Instant::now() + PATIENCE;
    loop {
        let wait = QUIET.min(last.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(wait) {
            // What is fetched is put in force with the files.
            Ok(Signal::Files | Signal::Fetched) if !wait.is_zero() => {}
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(Signal::Files | Signal::Fetched) | Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}

fn tell(view: &InterfaceView) {
    let InterfaceView { interface, mode, why } = view;
    if let Some(mode) = mode {
        tracing::info!(interface, mode, why, "the edge is on an interface");
    } else {
        tracing::error!(interface, why, "the edge is not on an interface");
    }
}
