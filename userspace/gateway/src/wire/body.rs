//! A body on the wire, of either direction: what of the bytes is data, and where it ends.

use bytes::{Bytes, BytesMut};
use hyper::header::HeaderMap;

use super::WireFault;
use super::chunked::Chunked;

/// What of a body comes next.
#[derive(Debug)]
pub enum Part {
    /// Data, without its framing.
    Data(Bytes),
    /// Fields behind the data; nothing but the end follows.
    Trailers(HeaderMap),
    /// The end. What follows is of another message.
    End,
}

/// Reads one body.
#[derive(Debug)]
pub struct Body(At);

#[derive(Debug)]
enum At {
    /// Before so many bytes.
    Length(u64),
    Chunked(Box<Chunked>),
    /// It ends with its connection.
    ToEnd,
    Ended,
}

impl Body {
    /// None.
    pub(crate) const fn none() -> Self {
        Self(At::Ended)
    }

    /// So many bytes.
    pub(crate) const fn of_length(length: u64) -> Self {
        Self(if length == 0 { At::Ended } else { At::Length(length) })
    }

    /// In chunks.
    pub(crate) fn chunked() -> Self {
        Self(At::Chunked(Box::new(Chunked::new())))
    }

    /// Everything up to the end of the connection.
    pub(crate) const fn to_end() -> Self {
        Self(At::ToEnd)
    }

    /// Whether nothing is left of it.
    pub const fn is_ended(&self) -> bool {
        matches!(self.0, At::Ended)
    }

    /// How many bytes are left, where that is known.
    pub const fn left(&self) -> Option<u64> {
        match self.0 {
            At::Length(left) => Some(left),
            At::Ended => Some(0),
            At::Chunked(_) | At::ToEnd => None,
        }
    }

    /// Takes the next part from the front of `buffer`; `None`: more bytes are needed for one.
    ///
    /// # Errors
    ///
    /// The framing has two readings, or none.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, WireFault> {
        match &mut self.0 {
            At::Ended => Ok(Some(Part::End)),
            _ if buffer.is_empty() => Ok(None),
            At::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                *left -= u64::try_from(here).unwrap_or(u64::MAX);
                if *left == 0 {
                    self.0 = At::Ended;
                }
                Ok(Some(Part::Data(buffer.split_to(here).freeze())))
            }
            At::ToEnd => Ok(Some(Part::Data(buffer.split().freeze()))),
            At::Chunked(chunked) => {
                let part = chunked.next(buffer)?;
                if matches!(part, Some(Part::End)) {
                    self.0 = At::Ended;
                }
                Ok(part)
            }
        }
    }

    /// The connection has ended; whether the body has, too.
    pub(crate) fn end_of_input(&mut self) -> bool {
        if matches!(self.0, At::ToEnd) {
            self.0 = At::Ended;
        }
        self.is_ended()
    }
}
