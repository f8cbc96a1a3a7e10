//! The requests of one connection, from its bytes, in whatever pieces those come.

use bytes::{Buf as _, BytesMut};

use super::head::{self, Head};
use super::{Unread, WireFault};

/// Finds the heads of requests; the body behind one is read by [`Head::body`] before the next.
#[derive(Debug, Default)]
pub struct Requests {
    /// How much of the buffer was searched for the end of a head.
    searched: usize,
}

impl Requests {
    /// At the beginning of a connection.
    pub const fn new() -> Self {
        Self { searched: 0 }
    }

    /// Takes the next head from the front of `buffer`, of at most `most_bytes` and `most_fields`;
    /// `None`: it is not there as a whole.
    ///
    /// # Errors
    ///
    /// It is not what a gateway may read; nothing behind it has a meaning any more.
    pub fn next(
        &mut self,
        buffer: &mut BytesMut,
        (most_bytes, most_fields): (usize, usize),
    ) -> Result<Option<Head>, Unread> {
        // Empty lines before a request are let pass (RFC 9112, section 2.2).
        let skipped = 2 * buffer.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
        buffer.advance(skipped);
        self.searched = self.searched.saturating_sub(skipped);
        // An end may begin in the last three bytes that were searched.
        let from = self.searched.saturating_sub(3).min(buffer.len());
        let Some(end) = buffer[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
            let before = std::mem::replace(&mut self.searched, buffer.len());
            // What is wrong already need not be waited for: with a bare LF the end may never come.
            if let Some(fault) = early_fault(buffer, before) {
                return Err(fault.into());
            }
            return if buffer.len() > most_bytes { Err(Unread::TooLong) } else { Ok(None) };
        };
        let end = from + end;
        if end + 4 > most_bytes {
            return Err(Unread::TooLong);
        }
        self.searched = 0;
        let head = buffer.split_to(end + 4).freeze();
        head::read(&head.slice(..end), most_fields).map(Some)
    }
}

/// A line end that is none, in a head that has not ended; `searched` bytes have none.
pub(super) fn early_fault(bytes: &[u8], searched: usize) -> Option<WireFault> {
    let from = searched.saturating_sub(1);
    let first = if from == 0 && bytes.first() == Some(&b'\n') { Some(WireFault::BareLf) } else { None };
    first.or_else(|| {
        bytes.get(from..)?.windows(2).find_map(|pair| match pair {
            [b'\r', b'\n'] => None,
            [b'\r', _] => Some(WireFault::BareCr),
            [_, b'\n'] => Some(WireFault::BareLf),
            _ => None,
        })
    })
}

#[cfg(test)]
mod tests;
