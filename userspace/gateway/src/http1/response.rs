//! The heads of responses.

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

use bytes::{BufMut as _, BytesMut};
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, TRANSFER_ENCODING};
use hyper::http::response::Parts;

use crate::counters::Counters;
use crate::stream::Out;
use crate::wire::Unread;

/// How the end of a response is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body, whatever the fields say of one.
    None,
    Length(u64),
    Chunked,
    /// By the end of the connection.
    ToEnd,
}

/// Writes a head.
pub(super) fn head(
    into: &mut BytesMut,
    parts: &Parts,
    framing: &Framing,
    (is_http_11, is_kept): (bool, bool),
) {
    into.reserve(512);
    status_line(into, parts.status);
    for (name, value) in &parts.headers {
        let is_ours = match *name {
            CONNECTION | TRANSFER_ENCODING => true,
            // Of a response without a body it is that of the body that there would be.
            CONTENT_LENGTH => *framing != Framing::None || parts.status == StatusCode::NO_CONTENT,
            _ => false,
        };
        if !is_ours {
            field(into, name.as_str(), value.as_bytes());
        }
    }
    if !parts.headers.contains_key(DATE) {
        date(into);
    }
    match framing {
        Framing::Length(length) => field(into, "content-length", decimal(*length).as_bytes()),
        Framing::Chunked => field(into, "transfer-encoding", b"chunked"),
        Framing::None | Framing::ToEnd => {}
    }
    match (is_http_11, is_kept) {
        (true, true) | (false, false) => {}
        (true, false) => field(into, "connection", b"close"),
        (false, true) => field(into, "connection", b"keep-alive"),
    }
    into.put_slice(b"\r\n");
}

/// Writes the head with which a connection begins to speak another protocol.
pub(super) fn switching(into: &mut BytesMut, headers: &HeaderMap) {
    status_line(into, StatusCode::SWITCHING_PROTOCOLS);
    for (name, value) in headers {
        if *name != CONNECTION {
            field(into, name.as_str(), value.as_bytes());
        }
    }
    field(into, "connection", b"upgrade");
    into.put_slice(b"\r\n");
}

/// Refuses a head that is not read: nobody has asked anything yet.
pub(super) fn refuse(out: &mut Out, unread: Unread, counters: &Counters) {
    match unread {
        Unread::Fault(fault) => {
            counters.wire_fault(fault);
            plain(out, StatusCode::BAD_REQUEST, fault.name());
        }
        Unread::TooLong | Unread::TooManyFields => {
            plain(out, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the head is too large");
        }
    }
}

/// Says that a head did not come in time.
pub(super) fn too_slow(out: &mut Out) {
    plain(out, StatusCode::REQUEST_TIMEOUT, "the head did not come in time");
}

fn plain(out: &mut Out, status: StatusCode, why: &str) {
    let into = &mut out.buffer;
    status_line(into, status);
    date(into);
    field(into, "content-type", b"text/plain; charset=utf-8");
    field(into, "content-length", decimal(u64::try_from(why.len()).unwrap_or(0) + 1).as_bytes());
    field(into, "connection", b"close");
    into.put_slice(b"\r\n");
    into.put_slice(why.as_bytes());
    into.put_slice(b"\n");
}

fn status_line(into: &mut BytesMut, status: StatusCode) {
    into.put_slice(b"HTTP/1.1 ");
    into.put_slice(status.as_str().as_bytes());
    into.put_slice(b" ");
    into.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    into.put_slice(b"\r\n");
}

fn field(into: &mut BytesMut, name: &str, value: &[u8]) {
    into.reserve(name.len() + value.len() + 4);
    into.put_slice(name.as_bytes());
    into.put_slice(b": ");
    into.put_slice(value);
    into.put_slice(b"\r\n");
}

fn decimal(number: u64) -> String {
    number.to_string()
}

thread_local! {
    /// The date as text, and when it was made.
    static NOW: RefCell<Option<(Instant, String)>> = const { RefCell::new(None) };
}

/// `Date`, made anew twice a second.
fn date(into: &mut BytesMut) {
    NOW.with_borrow_mut(|now| {
        let is_old = now.as_ref().is_none_or(|(made, _)| made.elapsed() > Duration::from_millis(500));
        if is_old {
            *now = Some((Instant::now(), httpdate::fmt_http_date(SystemTime::now())));
        }
        if let Some((_, text)) = now {
            field(into, "date", text.as_bytes());
        }
    });
}
