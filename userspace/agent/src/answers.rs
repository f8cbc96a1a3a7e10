//! The thread that answers refused ingress, and what bounds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use windrose_datapath::abi::Event;
use windrose_datapath::{Answer, Answerer, Manner};

use crate::clock::Clock;

/// At most one answer in this time, in the long run: 1,000 a second.
const EVERY: Duration = Duration::from_millis(1);

/// Answers that may go at once after a time without any; as many may wait for the thread.
const BURST: u32 = 1_000;

/// Whoever asked longer ago asks again, or has given up: such are events that a former agent left.
const TOO_LATE: Duration = Duration::from_secs(1);

/// What became of refused packets that are to be answered, since the agent started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    resets: AtomicU64,
    unreachables: AtomicU64,
    limited: AtomicU64,
    late: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// By what was sent.
    pub(crate) fn sent(&self) -> [(&'static str, u64); 2] {
        [("reset", read(&self.resets)), ("unreachable", read(&self.unreachables))]
    }

    /// By why nothing was.
    pub(crate) fn suppressed(&self) -> [(&'static str, u64); 3] {
        [("failed", read(&self.failed)), ("late", read(&self.late)), ("limit", read(&self.limited))]
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Takes events and passes on what is to be answered.
#[derive(Debug)]
pub(crate) struct Desk {
    manner: Manner,
    limit: Limit,
    queue: SyncSender<Answer>,
    tally: Arc<Tally>,
}

/// The thread; it ends when its [`Desk`] is gone and what was passed on is sent.
#[derive(Debug)]
pub(crate) struct Sender(JoinHandle<()>);

/// Starts the thread.
pub(crate) fn start(manner: Manner, tally: Arc<Tally>) -> Result<(Desk, Sender)> {
    let (queue, waiting) = sync_channel(BURST as usize);
    let desk = Desk { manner, limit: Limit::default(), queue, tally: Arc::clone(&tally) };
    let thread = thread::Builder::new()
        .name("answers".to_owned())
        .spawn(move || send(&waiting, &tally))
        .context("cannot start the thread that answers refused ingress")?;
    Ok((desk, Sender(thread)))
}

impl Sender {
    /// Waits for its end.
    pub(crate) fn join(self) -> Result<()> {
        self.0.join().map_err(|_| anyhow!("the thread that answers refused ingress has panicked"))
    }
}

impl Desk {
    /// Has an event answered if it reports a refused packet that may be.
    pub(crate) fn take(&mut self, event: &Event, clock: &Clock) {
        let Some(answer) = Answer::to(event, self.manner) else { return };
        if clock.age_of(event.time_ns) > TOO_LATE {
            add(&self.tally.late, 1);
        } else if !self.limit.admits(Instant::now()) || self.queue.try_send(answer).is_err() {
            add(&self.tally.limited, 1);
        }
    }
}

fn send(waiting: &Receiver<Answer>, tally: &Tally) {
    let mut answerer = Answerer::default();
    while let Ok(first) = waiting.recv() {
        let mut answers = vec![first];
        answers.extend(waiting.try_iter().take(BURST as usize));
        let count = answers.len() as u64;
        match answerer.send(answers) {
            Ok(sent) => {
                add(&tally.resets, sent.resets);
                add(&tally.unreachables, sent.unreachables);
                add(&tally.failed, sent.failed);
            }
            Err(error) => {
                add(&tally.failed, count);
                tracing::warn!(error = error.with_causes(), "cannot answer refused packets");
            }
        }
    }
}

/// A token bucket, kept as the moment at which it is full again.
#[derive(Debug, Default)]
struct Limit {
    full_at: Option<Instant>,
}

impl Limit {
    /// Takes a token if there is one.
    fn admits(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + EVERY;
        let is_one_left = full_at.duration_since(now) <= EVERY * BURST;
        if is_one_left {
            self.full_at = Some(full_at);
        }
        is_one_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_thousand_a_second() {
        let (start, mut limit) = (Instant::now(), Limit::default());
        let mut admitted = |at| (0..5_000).filter(|_| limit.admits(at)).count();
        assert_eq!(admitted(start), 1_000);
        assert_eq!(admitted(start + Duration::from_millis(500)), 500);
        assert_eq!(admitted(start + Duration::from_millis(501)), 1);
        assert_eq!(admitted(start + Duration::from_mins(1)), 1_000);
    }
}
