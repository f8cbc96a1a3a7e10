//! Recent events, and those who follow them as they happen.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::record::EventView;

/// Events that are kept for `/flows`.
const RECENT: usize = 8192;

/// Events that a follower may be behind before it loses some.
const BEHIND: usize = 4096;

/// The log.
#[derive(Debug)]
pub(crate) struct FlowLog {
    recent: Mutex<VecDeque<Arc<EventView>>>,
    followers: broadcast::Sender<Arc<EventView>>,
    seen: AtomicU64,
    lost: AtomicU64,
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

    /// Adds one; the oldest makes room.
    pub(crate) fn push(&self, event: EventView) {
        let event = Arc::new(event);
        {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(Arc::clone(&event));
        }
        self.seen.fetch_add(1, Ordering::Relaxed);
        // An error says that nobody follows.
        let _ = self.followers.send(event);
    }

    /// The recent events, the oldest first.
    pub(crate) fn recent(&self) -> Vec<Arc<EventView>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
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
    use crate::book::Book;
    use crate::clock::Clock;
    use windrose_datapath::abi::Event;

    fn event(bytes: u64) -> EventView {
        crate::record::event(&Event { bytes_sent: bytes, ..Event::ZERO }, &Book::default(), &Clock::now())
    }

    #[test]
    fn the_oldest_event_makes_room() {
        let log = FlowLog::new();
        for n in 0..=RECENT as u64 {
            log.push(event(n));
        }
        let recent = log.recent();
        assert_eq!(recent.len(), RECENT);
        assert_eq!(recent[0].decided.bytes_sent, 1);
        assert_eq!(log.seen(), RECENT as u64 + 1);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_how_many_it_lost() {
        let log = FlowLog::new();
        let mut follower = log.follow();
        for n in 0..BEHIND as u64 + 3 {
            log.push(event(n));
        }
        let lost = follower.recv().await;
        assert!(matches!(lost, Err(broadcast::error::RecvError::Lagged(3))), "{lost:?}");
        assert_eq!(follower.recv().await.unwrap().decided.bytes_sent, 3);
    }
}
