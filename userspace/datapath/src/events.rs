//! Events out of the ring buffer.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use windrose_abi::Event;

/// The reader of events; one at a time.
pub struct Events(pub(crate) RingBuf<MapData>);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Events").field(&self.0.as_raw_fd()).finish()
    }
}

/// Takes the events that are there, without waiting.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.0.next()?;
            if item.len() == size_of::<Event>() {
                // SAFETY: the message has the size of an `Event`, which any bytes are (see the
                // layout macro), and the read does not ask for alignment.
                return Some(unsafe { item.as_ptr().cast::<Event>().read_unaligned() });
            }
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring buffer owns the descriptor and outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
