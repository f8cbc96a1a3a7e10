//! Recent events, and those who follow them as they happen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;
use windrose_datapath::abi::Event;

use crate::book::Book;
use crate::clock::Clock;
use crate::record::{self, EventView};

/// Events that are kept for `/flows`.
const RECENT: usize = 8192;

/// Events that a follower may be behind before it loses some.
const BEHIND: usize = 4096;

/// The log.
#[derive(Debug)]
pub(crate) struct FlowLog {
    recent: Mutex<VecDeque<Kept>>,
    followers: broadcast::Sender<Arc<EventView>>,
    seen: AtomicU64,
    lost: AtomicU64,
}

/// An event with what it takes to tell it. It is told when somebody asks: most events are never read,
/// and telling one costs as much as the kernel's part in it.
#[derive(Debug)]
struct Kept {
    event: Event,
    batch: Arc<Batch>,
}

/// What is common to events that were read together.
#[derive(Debug)]
struct Batch {
    book: Arc<Book>,
    clock: Clock,
}

impl Kept {
    fn view(&self) -> EventView {
        record::event(&self.event, &self.batch.book, &self.batch.clock)
    }
}

impl FlowLog {
    /// An empty log.
    pub(crate) fn new() -> Self {
        Self {
            recent: Mutex::new(VecDeque::with_capacity(RECENT)),
            followers: broadcast::Sender::new(BEHIND),
            seen: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Adds events that were read together; the oldest make room.
    pub(crate) fn push(&self, events: &[Event], book: Arc<Book>, clock: Clock) {
        let batch = Arc::new(Batch { book, clock });
        let has_followers = self.followers.receiver_count() != 0;
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let kept = Kept { event: *event, batch: Arc::clone(&batch) };
            if has_followers {
                // An error says that the last one has just left.
                let _ = self.followers.send(Arc::new(kept.view()));
            }
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(kept);
        }
        self.seen.fetch_add(events.len() as u64, Ordering::Relaxed);
    }

    /// The recent events, the oldest first.
    pub(crate) fn recent(&self) -> Vec<EventView> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().map(Kept::view).collect()
    }

    /// The events from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<Arc<EventView>> {
        self.followers.subscribe()
    }

    /// Counts events that a follower was too slow for.
    pub(crate) fn count_lost(&self, events: u64) {
        self.lost.fetch_add(events, Ordering::Relaxed);
    }

    /// Events read from the kernel since this agent started.
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    /// Events that followers were too slow for.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &FlowLog, bytes: impl Iterator<Item = u64>) {
        let events: Vec<Event> = bytes.map(|bytes_sent| Event { bytes_sent, ..Event::ZERO }).collect();
        log.push(&events, Arc::default(), Clock::now());
    }

    #[test]
    fn the_oldest_event_makes_room() {
        let log = FlowLog::new();
        push(&log, 0..5);
        push(&log, 5..=RECENT as u64);
        let recent = log.recent();
        assert_eq!(recent.len(), RECENT);
        assert_eq!(recent[0].decided.bytes_sent, 1);
        assert_eq!(log.seen(), RECENT as u64 + 1);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_many_it_lost() {
        let log = FlowLog::new();
        let mut follower = log.follow();
        push(&log, 0..BEHIND as u64 + 3);
        let lost = follower.recv().await;
        assert!(matches!(lost, Err(broadcast::error::RecvError::Lagged(3))), "{lost:?}");
        assert_eq!(follower.recv().await.unwrap().decided.bytes_sent, 3);
    }
}
