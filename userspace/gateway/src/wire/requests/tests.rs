//! Sentences about what is refused, and that pieces do not matter.

use proptest::prelude::*;

use super::*;
use crate::wire::{Body, Part};

/// The bounds of tests.
const BOUNDS: (usize, usize) = (64 << 10, 100);

/// What is read of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// `method target` of each message, its data, and its trailers' number; the last may not have ended.
    messages: Vec<(String, Vec<u8>, usize, bool)>,
    refused: Option<Unread>,
}

/// Reads pieces as they come.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let (mut requests, mut buffer, mut body) = (Requests::new(), BytesMut::new(), Body::none());
    let mut read = Read::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            if body.is_ended() && read.messages.last().is_none_or(|message| message.3) {
                match requests.next(&mut buffer, BOUNDS) {
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        read.messages.push((
                            format!("{} {}", head.method, head.target),
                            Vec::new(),
                            0,
                            false,
                        ));
                        body = head.body;
                    }
                    Err(unread) => {
                        read.refused = Some(unread);
                        return read;
                    }
                }
            }
            let message = read.messages.last_mut().unwrap();
            match body.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Part::Data(data))) => message.1.extend_from_slice(&data),
                Ok(Some(Part::Trailers(trailers))) => message.2 = trailers.len(),
                Ok(Some(Part::End)) => message.3 = true,
                Err(fault) => {
                    read.refused = Some(fault.into());
                    return read;
                }
            }
        }
    }
    read
}

fn whole(bytes: &[u8]) -> Read {
    read(std::iter::once(bytes))
}

fn fault(text: &str) -> WireFault {
    match whole(text.as_bytes()).refused {
        Some(Unread::Fault(fault)) => fault,
        other => panic!("{other:?}: {text:?}"),
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

#[test]
fn what_is_plain_is_read() {
    for (text, expected) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", vec![("GET /", "", 0)]),
        ("\r\n\r\nGET / HTTP/1.0\r\n\r\n", vec![("GET /", "", 0)]),
        (
            "POST /a?b HTTP/1.1\r\nhost:a \r\nContent-Length:\t3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            vec![("POST /a?b", "abc", 0), ("GET /", "", 0)],
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n02\r\nde\r\n0\r\n\
             X-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            vec![("POST /", "abcde", 1), ("GET /", "", 0)],
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\n", vec![("GET /", "", 0)]),
    ] {
        let expected = expected
            .into_iter()
            .map(|(line, data, trailers)| (line.to_owned(), data.as_bytes().to_vec(), trailers, true))
            .collect();
        assert_eq!(whole(text.as_bytes()), Read { messages: expected, refused: None }, "{text:?}");
    }
}

#[test]
fn what_a_head_says_of_its_connection_is_read() {
    let head = |text: &str| {
        let text = text.replace('\n', "\r\n") + "\r\n";
        Requests::new().next(&mut BytesMut::from(&*text), BOUNDS).unwrap().unwrap()
    };
    for (text, is_kept) in [
        ("GET / HTTP/1.1\nHost: a\n", true),
        ("GET / HTTP/1.1\nHost: a\nConnection: Close\n", false),
        ("GET / HTTP/1.1\nHost: a\nConnection: x,\tclose \n", false),
        ("GET / HTTP/1.1\nHost: a\nConnection: closed\n", true),
        ("GET / HTTP/1.0\n", false),
        ("GET / HTTP/1.0\nConnection: keep-alive\n", true),
        ("GET / HTTP/1.0\nConnection: keep-alive, close\n", false),
    ] {
        assert_eq!(head(text).is_kept, is_kept, "{text:?}");
    }
    assert!(head("POST / HTTP/1.1\nHost: a\nExpect: 100-Continue\nContent-Length: 1\n").is_expecting);
    assert!(!head("POST / HTTP/1.0\nExpect: 100-continue\nContent-Length: 1\n").is_expecting);
}

#[test]
fn a_message_with_two_readings_is_refused() {
    use WireFault as W;
    for (rest, expected) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", W::LengthAndCoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", W::LengthAndCoding),
        ("Content-Length: 3\r\nContent-Length: 4\r\n\r\n", W::Length),
        ("Content-Length: 3\r\nContent-Length: 3\r\n\r\n", W::Length),
        ("Content-Length: 3, 3\r\n\r\n", W::Length),
        ("Content-Length: +3\r\n\r\n", W::Length),
        ("Content-Length: -3\r\n\r\n", W::Length),
        ("Content-Length: 0x3\r\n\r\n", W::Length),
        ("Content-Length: \r\n\r\n", W::Length),
        ("Content-Length: 99999999999999999999\r\n\r\n", W::Length),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n", W::Coding),
        ("Transfer-Encoding: chunked, identity\r\n\r\n", W::Coding),
        ("Transfer-Encoding: xchunked\r\n\r\n", W::Coding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", W::Coding),
        ("Transfer-Encoding:\x0bchunked\r\n\r\n", W::FieldValue),
        ("Content-Length : 3\r\n\r\n", W::FieldName),
        ("Content-Length\t: 3\r\n\r\n", W::FieldName),
        (": 3\r\n\r\n", W::FieldName),
        ("nocolon\r\n\r\n", W::FieldName),
        ("X: a\r\n b\r\n\r\n", W::Folding),
        ("X: a\n\r\n", W::BareLf),
        ("X: a\rb\r\n\r\n", W::BareCr),
        ("X: a\0b\r\n\r\n", W::FieldValue),
        ("Host: b\r\n\r\n", W::Host),
    ] {
        assert_eq!(fault(&format!("{POST}{rest}")), expected, "{rest:?}");
    }
    for (text, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", W::Host),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", W::RequestLine),
        ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", W::RequestLine),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", W::RequestLine),
        ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", W::RequestLine),
        ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", W::RequestLine),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", W::RequestLine),
        ("GET /\r\n\r\n", W::RequestLine),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", W::Version),
        ("PRI * HTTP/2.0\r\n\r\n", W::Version),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", W::Version),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", W::Folding),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", W::Coding),
    ] {
        assert_eq!(fault(text), expected, "{text:?}");
    }
}

#[test]
fn a_chunk_with_two_readings_is_refused() {
    use WireFault as W;
    for (rest, expected) in [
        ("3 \r\nabc\r\n0\r\n\r\n", W::ChunkSize),
        ("0x3\r\nabc\r\n0\r\n\r\n", W::ChunkSize),
        ("+3\r\nabc\r\n0\r\n\r\n", W::ChunkSize),
        ("\r\nabc", W::ChunkSize),
        (";x\r\nabc", W::ChunkSize),
        ("1000000000000000\r\n", W::ChunkSize),
        ("00000000000000000003\r\nabc\r\n", W::ChunkSize),
        ("3\nabc\r\n0\r\n\r\n", W::BareLf),
        ("3;a\nabc\r\n0\r\n\r\n", W::BareLf),
        ("3;a\rabc\r\n0\r\n\r\n", W::BareCr),
        ("3\rabc", W::BareCr),
        ("3\r\nabcd\r\n0\r\n\r\n", W::ChunkEnd),
        ("3\r\nabc\n0\r\n\r\n", W::ChunkEnd),
        ("3\r\nabc0\r\n\r\n", W::ChunkEnd),
        ("0\r\nContent-Length: 3\r\n\r\n", W::Trailer),
        ("0\r\nX : 1\r\n\r\n", W::FieldName),
        ("0\r\nX: 1\n\r\n", W::BareLf),
        ("0\r\n X: 1\r\n\r\n", W::Folding),
    ] {
        assert_eq!(fault(&format!("{POST}Transfer-Encoding: chunked\r\n\r\n{rest}")), expected, "{rest:?}");
    }
}

#[test]
fn what_came_before_the_fault_is_read() {
    let read = whole(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\nHost: a\r\n\r\n");
    assert_eq!(read.messages.len(), 1);
    assert_eq!(read.refused, Some(WireFault::BareLf.into()));
}

#[test]
fn a_head_beyond_its_bounds_is_refused() {
    let text = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(BOUNDS.0));
    assert_eq!(whole(text.as_bytes()).refused, Some(Unread::TooLong));
    assert_eq!(whole(format!("{text}\r\n\r\n").as_bytes()).refused, Some(Unread::TooLong));
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(BOUNDS.1));
    assert_eq!(whole(text.as_bytes()).refused, Some(Unread::TooManyFields));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn pieces_do_not_matter(
        parts in proptest::collection::vec(proptest::sample::select(&[
            "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: a\r\n", "Content-Length: 5\r\n", "\r\n", "\n", "\r",
            "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "hello", "X: y\r\n", " ", "0\r\nT: 1\r\n\r\n",
        ][..]), 0..16),
        cuts in proptest::collection::vec(1_usize..20, 1..16),
    ) {
        let bytes = parts.concat().into_bytes();
        let expected = whole(&bytes);
        let mut left = &bytes[..];
        let mut cuts = cuts.into_iter().cycle();
        let pieces = std::iter::from_fn(|| {
            let (piece, rest) = left.split_at(cuts.next().unwrap_or(1).min(left.len()));
            left = rest;
            (!piece.is_empty()).then_some(piece)
        });
        let found = read(pieces);
        prop_assert_eq!(&expected.messages, &found.messages);
        // A head with two faults is refused for the one that is seen first.
        let is_line_end =
            |unread| matches!(unread, Some(Unread::Fault(WireFault::BareCr | WireFault::BareLf)));
        let is_same = expected.refused == found.refused || is_line_end(found.refused);
        prop_assert!(is_same, "{:?} {:?}", expected.refused, found.refused);
    }
}
