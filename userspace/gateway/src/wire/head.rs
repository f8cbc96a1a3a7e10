//! The head of a request: request line and fields.

use super::WireFault;

/// How the body behind a head is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 is none.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// Reads a head, from its request line to the empty line (which is left out of `head`), without
/// empty lines before it.
pub(super) fn read(head: &[u8]) -> Result<Framing, WireFault> {
    let mut lines = Lines(head);
    let is_http_11 = request_line(lines.next().ok_or(WireFault::RequestLine)??)?;
    let (mut length, mut coding, mut hosts) = (None, None, 0_usize);
    for line in lines {
        let (name, value) = field(line?)?;
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(digits(value)?).is_some() {
                return Err(WireFault::Length);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let is_twice = coding.replace(()).is_some();
            if is_twice || !is_http_11 || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(WireFault::Coding);
            }
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    if hosts > 1 || (is_http_11 && hosts == 0) {
        return Err(WireFault::Host);
    }
    match (length, coding) {
        (Some(_), Some(())) => Err(WireFault::LengthAndCoding),
        (length, None) => Ok(Framing::Length(length.unwrap_or(0))),
        (None, Some(())) => Ok(Framing::Chunked),
    }
}

/// Whether it is of HTTP/1.1; of any other than 1.0 and 1.1 it is refused.
fn request_line(line: &[u8]) -> Result<bool, WireFault> {
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
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
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

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// 18 digits fit a `u64`; no body is longer.
fn digits(value: &[u8]) -> Result<u64, WireFault> {
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
struct Lines<'a>(&'a [u8]);

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
