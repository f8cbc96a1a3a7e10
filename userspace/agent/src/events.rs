//! The thread that reads events out of the kernel's ring buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use windrose_datapath::Events;
use windrose_datapath::abi::{Event, EventKind};

use crate::agent::Agent;
use crate::answers::Desk;
use crate::clock::Clock;

/// Events that are read between two looks at the clock and the names.
const BATCH: usize = 1024;

/// How often the ring is looked at. The kernel wakes nobody, because that would cost each packet's
/// processor several microseconds an event; 4 MiB of ring hold 23,000 events, so
/// that two million a second are not lost.
const PERIOD: Duration = Duration::from_millis(10);

/// The thread; it ends with [`Reader::stop`].
#[derive(Debug)]
pub(crate) struct Reader {
    thread: JoinHandle<()>,
    is_stopped: Arc<AtomicBool>,
}

impl Reader {
    /// Starts reading into the agent's log, and to the desk that answers. A thread and not a task,
    /// because waiting for a descriptor that is not its own costs tokio unsafe code.
    pub(crate) fn start(events: Events, agent: Arc<Agent>, answers: Option<Desk>) -> Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_stopped);
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || read(events, &agent, answers, &stop))
            .context("cannot start the reader of events")?;
        Ok(Self { thread, is_stopped })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(self) -> Result<()> {
        self.is_stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the reader of events has panicked"))
    }
}

fn read(mut events: Events, agent: &Agent, mut answers: Option<Desk>, is_stopped: &AtomicBool) {
    let mut batch: Vec<Event> = Vec::with_capacity(BATCH);
    while !is_stopped.load(Ordering::Relaxed) {
        // The names may be newer than an event: those of before are kept for that.
        let book = Arc::clone(&agent.snapshot().book);
        let clock = Clock::now();
        batch.clear();
        batch.extend(events.by_ref().take(BATCH));
        let count = batch.len();
        if let Some(desk) = &mut answers {
            for event in &batch {
                desk.take(event, &clock);
            }
        }
        batch.retain(|event| event.kind != EventKind::Unanswered as u8);
        if !batch.is_empty() {
            agent.flow_log.push(&batch, book, clock);
        }
        if count == BATCH {
            continue;
        }
        thread::sleep(PERIOD);
    }
}
