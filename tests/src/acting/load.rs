//! A steady load: one exchange after the other.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use socket2::Socket;

use super::{Done, client, lock};

/// How long an exchange of a load may take: retransmissions are no loss, silence is one.
const PATIENCE_MS: u64 = 10_000;

/// A load under way, or ended by its first failure.
#[derive(Debug)]
pub(super) struct Load {
    exchanges: AtomicU64,
    ends: AtomicBool,
    thread: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

/// Begins one.
pub(super) fn start(socket: Arc<Socket>, bytes: usize) -> io::Result<Arc<Load>> {
    let load = Arc::new(Load {
        exchanges: AtomicU64::new(0),
        ends: AtomicBool::new(false),
        thread: Mutex::new(None),
    });
    let its = Arc::clone(&load);
    let thread = thread::Builder::new().spawn(move || {
        while !its.ends.load(Ordering::SeqCst) {
            client::exchange(&socket, bytes, PATIENCE_MS)?;
            its.exchanges.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })?;
    *lock(&load.thread) = Some(thread);
    Ok(load)
}

impl Load {
    /// How many exchanges so far; the failure if there was one.
    pub(super) fn so_far(&self) -> Done {
        let mut thread = lock(&self.thread);
        if thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join(thread.take())?;
        }
        Ok(self.exchanges.load(Ordering::SeqCst))
    }

    /// Ends it.
    pub(super) fn stop(&self) -> Done {
        self.ends.store(true, Ordering::SeqCst);
        let thread = lock(&self.thread).take();
        self.join(thread)
    }

    fn join(&self, thread: Option<JoinHandle<io::Result<()>>>) -> Done {
        if let Some(thread) = thread {
            thread.join().map_err(|_| io::Error::other("the load panicked"))??;
        }
        Ok(self.exchanges.load(Ordering::SeqCst))
    }
}
