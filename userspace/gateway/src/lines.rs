//! Lines of the access log on their way out: a bounded queue, and a line is only written if somebody
//! reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::mpsc;

/// Where lines go.
#[derive(Debug, Clone)]
pub struct Lines {
    sender: mpsc::Sender<String>,
    is_wanted: Arc<AtomicBool>,
}

impl Lines {
    /// Into this queue, for as long as `is_wanted` says so.
    pub fn new(sender: mpsc::Sender<String>, is_wanted: Arc<AtomicBool>) -> Self {
        Self { sender, is_wanted }
    }

    /// Whether anybody reads.
    pub(crate) fn are_wanted(&self) -> bool {
        self.is_wanted.load(Relaxed)
    }

    /// False: there was no room, and the line is lost.
    pub(crate) fn send(&self, line: String) -> bool {
        self.sender.try_send(line).is_ok()
    }
}

impl From<mpsc::Sender<String>> for Lines {
    /// Always wanted.
    fn from(sender: mpsc::Sender<String>) -> Self {
        Self { sender, is_wanted: Arc::new(AtomicBool::new(true)) }
    }
}
