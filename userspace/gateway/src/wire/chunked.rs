//! A body in chunks (RFC 9112, section 7.1), byte by byte and run by run.

use bytes::{Buf as _, BytesMut};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::head::field;
use super::{Part, WireFault};

/// More digits would not fit a `u64` with room.
const DIGITS: u8 = 15;

/// Extensions of one chunk: nobody uses them, and they must not become a flood.
const EXTENSION: u16 = 256;

/// All trailers together.
const TRAILERS: usize = 8 << 10;

/// Where in the body the reader is.
#[derive(Debug)]
pub(super) struct Chunked {
    at: At,
    trailers: HeaderMap,
}

#[derive(Debug)]
enum At {
    /// In a size, behind so many digits.
    Size(u64, u8),
    /// In extensions, behind so many bytes.
    Extension(u64, u16),
    /// Behind the CR of a size's line.
    SizeLf(u64),
    /// In data, before so many bytes of it.
    Data(u64),
    /// Behind data.
    DataCr,
    DataLf,
    /// In trailers: the line so far, and how much there was before.
    Trailer(Vec<u8>, usize),
    /// Behind the CR of a trailer's line.
    TrailerLf(Vec<u8>, usize),
    Ended,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { at: At::Size(0, 0), trailers: HeaderMap::new() }
    }

    /// The next part, from the front of `buffer`; `None`: more bytes are needed for one.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Part>, WireFault> {
        loop {
            match &mut self.at {
                At::Data(left) if !buffer.is_empty() => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= u64::try_from(here).unwrap_or(u64::MAX);
                    if *left == 0 {
                        self.at = At::DataCr;
                    }
                    return Ok(Some(Part::Data(buffer.split_to(here).freeze())));
                }
                At::Ended if !self.trailers.is_empty() => {
                    return Ok(Some(Part::Trailers(std::mem::take(&mut self.trailers))));
                }
                At::Ended => return Ok(Some(Part::End)),
                _ => {
                    let Some(&byte) = buffer.first() else { return Ok(None) };
                    buffer.advance(1);
                    if self.step(byte)? {
                        self.at = At::Ended;
                    }
                }
            }
        }
    }

    /// Takes one byte that is not data; true is the end of the body.
    fn step(&mut self, byte: u8) -> Result<bool, WireFault> {
        let at = std::mem::replace(&mut self.at, At::DataCr);
        self.at = match (at, byte) {
            (At::Size(size, digits), _) if byte.is_ascii_hexdigit() => {
                if digits == DIGITS {
                    return Err(WireFault::ChunkSize);
                }
                At::Size(size * 16 + u64::from(char::from(byte).to_digit(16).unwrap_or(0)), digits + 1)
            }
            (At::Size(_, 0), _) => return Err(WireFault::ChunkSize),
            (At::Size(size, _), b';') => At::Extension(size, 0),
            (At::Size(size, _) | At::Extension(size, _), b'\r') => At::SizeLf(size),
            (At::Extension(size, length), b'\t' | b' '..=b'~') if length < EXTENSION => {
                At::Extension(size, length + 1)
            }
            (At::Size(..) | At::Extension(..) | At::Trailer(..), b'\n') => return Err(WireFault::BareLf),
            (At::SizeLf(0), b'\n') => At::Trailer(Vec::new(), 0),
            (At::SizeLf(size), b'\n') => At::Data(size),
            (At::SizeLf(_) | At::TrailerLf(..), _) if byte != b'\n' => return Err(WireFault::BareCr),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size(0, 0),
            (At::DataCr | At::DataLf, _) => return Err(WireFault::ChunkEnd),
            (At::Trailer(line, before), b'\r') => At::TrailerLf(line, before),
            (At::Trailer(mut line, before), _) => {
                if before + line.len() >= TRAILERS {
                    return Err(WireFault::Trailer);
                }
                line.push(byte);
                At::Trailer(line, before)
            }
            (At::TrailerLf(line, before), _) => {
                if line.is_empty() {
                    return Ok(true);
                }
                self.trailer(&line)?;
                At::Trailer(Vec::new(), before + line.len())
            }
            // `next` takes data itself.
            (At::Size(..) | At::Extension(..) | At::SizeLf(_) | At::Data(_) | At::Ended, _) => {
                return Err(WireFault::ChunkSize);
            }
        };
        Ok(false)
    }

    /// What frames or routes a message is no trailer (RFC 9110, section 6.5.1).
    fn trailer(&mut self, line: &[u8]) -> Result<(), WireFault> {
        let (name, value) = field(line)?;
        let is_forbidden = ["content-length", "transfer-encoding", "host", "connection", "trailer"]
            .iter()
            .any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()));
        if is_forbidden {
            return Err(WireFault::Trailer);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| WireFault::FieldName)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| WireFault::FieldValue)?;
        self.trailers.append(name, value);
        Ok(())
    }
}
