//! The one place where a path is normalised: before authorisation and before routing.
//!
//! The upstream gets the normalised path, so that nobody behind us can read another one out of it.
//! What two readers are known to read differently, and what no client has a reason to send, is
//! refused and not repaired. In this order:
//!
//! 1. A path begins with `/`. A fragment, a space, a control character, a backslash and whatever is
//!    not ASCII are refused.
//! 2. `%` is followed by two hexadecimal digits, else refused. Encoded unreserved characters
//!    (RFC 3986, section 2.3) are decoded; the digits of the others are written in upper case.
//! 3. Refused, because some servers decode them and then split again: an encoded `/`, `\`, NUL and
//!    other control characters, and bytes that no UTF-8 text has (`%C0%AF` was once a slash).
//! 4. What RFC 3986 does not allow in a path but clients send (`"<>^` and the backtick, `{|}`) is
//!    encoded.
//! 5. Runs of slashes become one slash.
//! 6. Dot segments are removed (RFC 3986, section 5.2.4); one that would leave the root is refused.
//!    Refused is also a dot segment with a parameter (`..;x`): Java servers take the parameter off
//!    and walk up.
//!
//! Decoding is done once: `%252e` stays `%252e`.

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathFault {
    /// It does not begin with `/`.
    Relative,
    /// It has a character that no path has.
    Character,
    /// A `%` without two hexadecimal digits.
    Escape,
    /// An encoded slash or backslash.
    EncodedSlash,
    /// An encoded control character, NUL among them.
    EncodedControl,
    /// An encoded byte that no UTF-8 text has.
    EncodedByte,
    /// `..` beyond the root.
    AboveRoot,
    /// A dot segment with a parameter.
    DotParameter,
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relative => "must begin with `/`",
            Self::Character => {
                "has a space, a control character, `\\`, `#`, `?` or a character that is not ASCII"
            }
            Self::Escape => "has a `%` without two hexadecimal digits behind it",
            Self::EncodedSlash => "has an encoded slash or backslash",
            Self::EncodedControl => "has an encoded control character",
            Self::EncodedByte => "has an encoded byte that no UTF-8 text has",
            Self::AboveRoot => "has a `..` that leaves the root",
            Self::DotParameter => "has a dot segment with a parameter, such as `..;`",
        })
    }
}

impl std::error::Error for PathFault {}

/// The path in its one form. It is borrowed where nothing was to be done, which is nearly always.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(PathFault::Relative);
    }
    let decoded = decode(path.as_bytes())?;
    let mut out = String::with_capacity(decoded.len());
    let mut ends_open = true;
    for segment in decoded[1..].split('/') {
        ends_open = true;
        match segment {
            "" | "." => {}
            ".." => {
                let Some(cut) = out.rfind('/') else { return Err(PathFault::AboveRoot) };
                out.truncate(cut);
            }
            _ if segment.starts_with(".;") || segment.starts_with("..;") => {
                return Err(PathFault::DotParameter);
            }
            _ => {
                out.push('/');
                out.push_str(segment);
                ends_open = false;
            }
        }
    }
    if ends_open {
        out.push('/');
    }
    Ok(Cow::Owned(out))
}

/// What is already in its one form: no escapes, no empty segment, none that begins with a dot.
fn is_normal(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') {
        return false;
    }
    let mut before = 0;
    for &byte in path {
        let is_plain = byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,;=:@".contains(&byte);
        // A dot or a slash behind a slash may be a segment to remove.
        if !is_plain && (!matches!(byte, b'.' | b'/') || before == b'/') {
            return false;
        }
        before = byte;
    }
    true
}

/// Steps 1 to 4.
fn decode(path: &[u8]) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(PathFault::Escape);
                };
                push_encoded(&mut out, u8::try_from(high * 16 + low).unwrap_or_default())?;
            }
            b'\\' | b'#' | b'?' | 0..=b' ' | 0x7f.. => return Err(PathFault::Character),
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => escape(&mut out, byte),
            _ => out.push(char::from(byte)),
        }
    }
    Ok(out)
}

fn push_encoded(out: &mut String, byte: u8) -> Result<(), PathFault> {
    match byte {
        b'/' | b'\\' => return Err(PathFault::EncodedSlash),
        0..=0x1f | 0x7f => return Err(PathFault::EncodedControl),
        0xc0 | 0xc1 | 0xf5.. => return Err(PathFault::EncodedByte),
        b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
        _ => escape(out, byte),
    }
    Ok(())
}

fn escape(out: &mut String, byte: u8) {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests;
