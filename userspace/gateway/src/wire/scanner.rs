//! Where one message ends and the next begins, with everything refused that has two answers.

use super::WireFault;
use super::chunked::Chunked;
use super::head::{self, Framing};

/// Heads above this are not judged here but handed on: the server behind refuses them with 431, as
/// its own bound is lower.
const HEAD: usize = 64 << 10;

/// Reads the bytes of one connection, whatever pieces they come in.
#[derive(Debug)]
pub struct Scanner {
    at: At,
    /// How much of the head that is being held was searched for its end.
    searched: usize,
}

#[derive(Debug)]
enum At {
    Head,
    Length(u64),
    Chunked(Chunked),
    /// A head was too long: nothing behind it means anything.
    TooLong,
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

impl Scanner {
    /// At the beginning of a connection.
    pub const fn new() -> Self {
        Self { at: At::Head, searched: 0 }
    }

    /// Whether the next byte is of a head: a fault now is answered, one in a body cuts it short.
    pub fn is_in_head(&self) -> bool {
        matches!(self.at, At::Head)
    }

    /// How many of the bytes may be handed on. The rest (the beginning of a head) must be given
    /// again, with what follows.
    ///
    /// # Errors
    ///
    /// The fault of the message behind those that may be handed on, and how many bytes those are.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, (usize, WireFault)> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            if rest.is_empty() {
                return Ok(used);
            }
            match &mut self.at {
                At::TooLong => return Ok(bytes.len()),
                At::Length(left) => {
                    let here = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(*left);
                    *left -= here;
                    used += usize::try_from(here).unwrap_or(usize::MAX);
                    if *left == 0 {
                        self.at = At::Head;
                    }
                }
                At::Chunked(chunked) => {
                    let (here, is_end) = chunked.feed(rest).map_err(|fault| (used, fault))?;
                    used += here;
                    if is_end {
                        self.at = At::Head;
                    }
                }
                At::Head => match self.head(rest).map_err(|fault| (used, fault))? {
                    Some(length) => used += length,
                    None if rest.len() > HEAD => self.at = At::TooLong,
                    None => return Ok(used),
                },
            }
        }
    }

    /// The length of the head if all of it is there.
    fn head(&mut self, bytes: &[u8]) -> Result<Option<usize>, WireFault> {
        // Empty lines before a request are let pass (RFC 9112, section 2.2).
        let skipped = 2 * bytes.chunks_exact(2).take_while(|pair| *pair == b"\r\n").count();
        let body = &bytes[skipped..];
        // An end may begin in the last three bytes that were searched.
        let from = self.searched.saturating_sub(skipped + 3).min(body.len());
        let Some(end) = body[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
            let before = std::mem::replace(&mut self.searched, bytes.len());
            // What is wrong already need not be waited for: with a bare LF the end may never come.
            return early_fault(bytes, before).map_or(Ok(None), Err);
        };
        let end = from + end;
        self.searched = 0;
        self.at = match head::read(&body[..end])? {
            Framing::Length(0) => At::Head,
            Framing::Length(length) => At::Length(length),
            Framing::Chunked => At::Chunked(Chunked::new()),
        };
        Ok(Some(skipped + end + 4))
    }
}

/// A line end that is none, in a head that has not ended; `searched` bytes have none.
fn early_fault(bytes: &[u8], searched: usize) -> Option<WireFault> {
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
