//! The head of an endpoint's response.

use bytes::BytesMut;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};

use super::head::{Lines, digits, field, keeps};
use super::requests::early_fault;
use super::{Body, WireFault};

/// Fields of a head, at most.
const FIELDS: usize = 128;

/// Bytes of a head, at most.
const HEAD: usize = 64 << 10;

/// A response's head, and what it says of its connection.
#[derive(Debug)]
pub struct ResponseHead {
    /// Its status; of those of class 1 only 101 ends a request.
    pub status: StatusCode,
    /// Its fields, in order.
    pub headers: HeaderMap,
    /// Whether the connection may be used for another request behind the body.
    pub is_kept: bool,
    /// How the body behind it is read.
    pub body: Body,
}

impl ResponseHead {
    /// Takes the head of the response to a request of `method` from the front of `buffer`; `None`: it
    /// is not there as a whole.
    ///
    /// # Errors
    ///
    /// It is no response, or its body has two readings.
    pub fn take(buffer: &mut BytesMut, method: &Method) -> Result<Option<Self>, WireFault> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            // What is wrong already need not be waited for: with a bare LF the end may never come.
            return match early_fault(buffer, 0) {
                Some(fault) => Err(fault),
                None if buffer.len() > HEAD => Err(WireFault::HeadLength),
                None => Ok(None),
            };
        };
        let head = buffer.split_to(end + 4).freeze();
        let head = head.slice(..end);
        let mut lines = Lines(&head);
        let (status, is_http_11) = status_line(lines.next().ok_or(WireFault::StatusLine)??)?;
        let mut headers = HeaderMap::with_capacity(12);
        for line in lines {
            let (name, value) = field(line?)?;
            if headers.len() == FIELDS {
                return Err(WireFault::HeadLength);
            }
            let name = HeaderName::from_bytes(name).map_err(|_| WireFault::FieldName)?;
            let value =
                HeaderValue::from_maybe_shared(head.slice_ref(value)).map_err(|_| WireFault::FieldValue)?;
            headers.append(name, value);
        }
        let (body, may_be_kept) = framing(status, &mut headers, method, is_http_11)?;
        let mut is_kept = is_http_11;
        for value in headers.get_all(hyper::header::CONNECTION) {
            is_kept = keeps(value.as_bytes(), is_kept);
        }
        Ok(Some(Self { status, headers, is_kept: is_kept && may_be_kept, body }))
    }
}

/// How a body is framed (RFC 9112, section 6.3), and whether another response may follow.
fn framing(
    status: StatusCode,
    headers: &mut HeaderMap,
    method: &Method,
    is_http_11: bool,
) -> Result<(Body, bool), WireFault> {
    use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map(|value| digits(value.as_bytes())).transpose()?;
    // The same length twice is let pass and said once (RFC 9110, section 8.6).
    for other in lengths {
        if Some(digits(other.as_bytes())?) != length {
            return Err(WireFault::Length);
        }
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if let Some(coding) = coding
        && (codings.next().is_some() || !is_http_11 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(WireFault::Coding);
    }
    let is_chunked = coding.is_some();
    if is_chunked && length.is_some() {
        return Err(WireFault::LengthAndCoding);
    }
    if let Some(length) = length
        && headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let has_none = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    Ok(match length {
        _ if has_none => (Body::none(), true),
        _ if is_chunked => (Body::chunked(), true),
        Some(length) => (Body::of_length(length), true),
        None => (Body::to_end(), false),
    })
}

/// The status, and whether it is of HTTP/1.1. The reason may be missing, with its space.
fn status_line(line: &[u8]) -> Result<(StatusCode, bool), WireFault> {
    let is_http_11 = match line.get(..9) {
        Some(b"HTTP/1.1 ") => true,
        Some(b"HTTP/1.0 ") => false,
        _ => return Err(WireFault::StatusLine),
    };
    let (code, reason) = line[9..].split_at_checked(3).ok_or(WireFault::StatusLine)?;
    let status = StatusCode::from_bytes(code).map_err(|_| WireFault::StatusLine)?;
    let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    if status.as_u16() >= 600 || !matches!(reason.first(), None | Some(b' ')) || !reason.iter().all(is_text) {
        return Err(WireFault::StatusLine);
    }
    Ok((status, is_http_11))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str, method: &Method) -> Result<Option<ResponseHead>, WireFault> {
        ResponseHead::take(&mut BytesMut::from(text), method)
    }

    #[test]
    fn a_body_is_framed_by_the_standard() {
        for (head, method, left, is_kept) in [
            ("200 OK\r\nContent-Length: 5\r\n", Method::GET, Some(5), true),
            ("200 OK\r\nContent-Length: 5\r\ncontent-length: 5\r\n", Method::GET, Some(5), true),
            ("200 OK\r\nContent-Length: 5\r\n", Method::HEAD, Some(0), true),
            ("304 Not Modified\r\nContent-Length: 5\r\n", Method::GET, Some(0), true),
            ("204 No Content\r\n", Method::GET, Some(0), true),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n", Method::GET, None, true),
            ("200 OK\r\n", Method::GET, None, false),
            ("200 OK\r\nConnection: close\r\nContent-Length: 1\r\n", Method::GET, Some(1), false),
            ("200\r\nContent-Length: 0\r\nX:\r\n", Method::GET, Some(0), true),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n");
            let head = take(&text, &method).unwrap().unwrap();
            assert_eq!((head.body.left(), head.is_kept), (left, is_kept), "{text:?}");
            assert!(head.headers.get_all("content-length").iter().count() <= 1, "{text:?}");
        }
        let old = take("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n", &Method::GET).unwrap().unwrap();
        assert!(!old.is_kept);
        let old = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n";
        assert!(take(old, &Method::GET).unwrap().unwrap().is_kept);
    }

    #[test]
    fn a_response_with_two_readings_is_refused() {
        use WireFault as W;
        for (head, fault) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", W::Length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", W::Length),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                W::LengthAndCoding,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", W::Coding),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", W::Coding),
            ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", W::FieldName),
            ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", W::Folding),
            ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", W::FieldValue),
            ("HTTP/2.0 200 OK\r\n\r\n", W::StatusLine),
            ("HTTP/1.1 999 No\r\n\r\n", W::StatusLine),
            ("HTTP/1.1 2x0 OK\r\n\r\n", W::StatusLine),
            ("HTTP/1.1 200OK\r\n\r\n", W::StatusLine),
            ("HTTP/1.1 200 OK\nX: a\r\n\r\n", W::BareLf),
            ("nonsense\r\n\r\n", W::StatusLine),
        ] {
            assert_eq!(take(head, &Method::GET).unwrap_err(), fault, "{head:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(HEAD));
        assert_eq!(take(&long, &Method::GET).unwrap_err(), W::HeadLength);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: a\r\n".repeat(FIELDS + 1));
        assert_eq!(take(&many, &Method::GET).unwrap_err(), W::HeadLength);
        assert!(take("HTTP/1.1 200 OK\r\nX: a", &Method::GET).unwrap().is_none());
    }
}
