//! The head of a request: request line and fields.

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};

use super::{Body, Unread, WireFault};

/// The head of a request that can be read in one way, and what it says of its connection.
#[derive(Debug)]
pub struct Head {
    /// Its method.
    pub method: Method,
    /// As sent.
    pub target: Uri,
    /// HTTP/1.1, not 1.0.
    pub is_http_11: bool,
    /// Its fields, in order.
    pub headers: HeaderMap,
    /// Whether the client wants to go on with this connection.
    pub is_kept: bool,
    /// It waits for `100 Continue` before it sends its body.
    pub is_expecting: bool,
    /// How the body behind it is read.
    pub body: Body,
}

/// Reads a head, from its request line to the empty line (which is left out of `head`), without
/// empty lines before it, and with at most so many fields.
pub(super) fn read(head: &Bytes, most: usize) -> Result<Head, Unread> {
    let mut lines = Lines(head);
    let (method, target, is_http_11) = request_line(lines.next().ok_or(WireFault::RequestLine)??)?;
    let method = Method::from_bytes(method).map_err(|_| WireFault::RequestLine)?;
    let target = Uri::from_maybe_shared(head.slice_ref(target)).map_err(|_| WireFault::RequestLine)?;
    let mut headers = HeaderMap::with_capacity(8);
    let (mut length, mut coding, mut hosts) = (None, None, 0_usize);
    let (mut is_kept, mut is_expecting) = (is_http_11, false);
    for line in lines {
        let (name, value) = field(line?)?;
        match Meaning::of(name) {
            Meaning::Length => {
                if length.replace(digits(value)?).is_some() {
                    return Err(WireFault::Length.into());
                }
            }
            Meaning::Coding => {
                let is_twice = coding.replace(()).is_some();
                if is_twice || !is_http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(WireFault::Coding.into());
                }
            }
            Meaning::Host => hosts += 1,
            Meaning::Connection => is_kept = keeps(value, is_kept),
            Meaning::Expect => is_expecting |= is_http_11 && value.eq_ignore_ascii_case(b"100-continue"),
            Meaning::None => {}
        }
        if headers.len() == most {
            return Err(Unread::TooManyFields);
        }
        let name = HeaderName::from_bytes(name).map_err(|_| WireFault::FieldName)?;
        let value =
            HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| WireFault::FieldValue)?;
        headers.append(name, value);
    }
    if hosts > 1 || (is_http_11 && hosts == 0) {
        return Err(WireFault::Host.into());
    }
    let body = match (length, coding) {
        (Some(_), Some(())) => return Err(WireFault::LengthAndCoding.into()),
        (length, None) => Body::of_length(length.unwrap_or(0)),
        (None, Some(())) => Body::chunked(),
    };
    Ok(Head { method, target, is_http_11, headers, is_kept, is_expecting, body })
}

/// What a field means for framing and connection.
enum Meaning {
    Length,
    Coding,
    Host,
    Connection,
    Expect,
    None,
}

impl Meaning {
    fn of(name: &[u8]) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // By length first: most fields are none of these.
        match name.len() {
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            10 if is("connection") => Self::Connection,
            14 if is("content-length") => Self::Length,
            17 if is("transfer-encoding") => Self::Coding,
            _ => Self::None,
        }
    }
}

/// Whether a connection goes on, by a value of `Connection` and what was so without it.
pub(super) fn keeps(value: &[u8], is_kept: bool) -> bool {
    let has =
        |word: &[u8]| value.split(|&byte| byte == b',').any(|one| trimmed(one).eq_ignore_ascii_case(word));
    !has(b"close") && (is_kept || has(b"keep-alive"))
}

/// Method, target, and whether it is of HTTP/1.1; of any other than 1.0 and 1.1 it is refused.
fn request_line(line: &[u8]) -> Result<(&[u8], &[u8], bool), WireFault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(WireFault::RequestLine);
    };
    let is_visible = |byte: &u8| (b'!'..=b'~').contains(byte);
    if !is_token(method) || target.is_empty() || !target.iter().all(is_visible) {
        return Err(WireFault::RequestLine);
    }
    match version {
        b"HTTP/1.1" => Ok((method, target, true)),
        b"HTTP/1.0" => Ok((method, target, false)),
        _ => Err(WireFault::Version),
    }
}

/// A field's name and its value without white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), WireFault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(WireFault::Folding);
    }
    let colon = line.iter().position(|&byte| byte == b':').ok_or(WireFault::FieldName)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(WireFault::FieldName);
    }
    if !value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)) {
        return Err(WireFault::FieldValue);
    }
    Ok((name, trimmed(value)))
}

/// Without white space around it.
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// 18 digits fit a `u64`; no body is longer.
pub(super) fn digits(value: &[u8]) -> Result<u64, WireFault> {
    if !(1..=18).contains(&value.len()) || !value.iter().all(u8::is_ascii_digit) {
        return Err(WireFault::Length);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Lines that end in CR LF; the last may end without.
pub(super) struct Lines<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = Result<&'a [u8], WireFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(self.0.len());
        let line = &self.0[..end];
        match &self.0[end..] {
            [] => self.0 = &[],
            [b'\r', b'\n', rest @ ..] => self.0 = rest,
            [b'\n', ..] => return Some(Err(WireFault::BareLf)),
            _ => return Some(Err(WireFault::BareCr)),
        }
        Some(Ok(line))
    }
}
