//! Sentences about what is refused, and that pieces do not matter.

use proptest::prelude::*;

use super::*;

fn whole(bytes: &[u8]) -> Result<usize, (usize, WireFault)> {
    Scanner::new().feed(bytes)
}

fn fault(text: &str) -> WireFault {
    match whole(text.as_bytes()) {
        Err((_, fault)) => fault,
        Ok(used) => panic!("{used} bytes taken: {text:?}"),
    }
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

#[test]
fn what_is_plain_is_handed_on() {
    for text in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.0\r\n\r\n",
        "POST /a?b HTTP/1.1\r\nhost:a \r\nContent-Length:\t3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e4}\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(whole(text.as_bytes()), Ok(text.len()), "{text:?}");
    }
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
fn what_came_before_the_fault_is_handed_on() {
    let good = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        whole(format!("{good}GET / HTTP/1.1\nHost: a\r\n\r\n").as_bytes()),
        Err((good.len(), WireFault::BareLf))
    );
}

#[test]
fn a_head_that_does_not_end_is_handed_on_to_be_refused_by_its_length() {
    let text = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(HEAD));
    assert_eq!(whole(text.as_bytes()), Ok(text.len()));
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
        let mut scanner = Scanner::new();
        let (mut taken, mut given) = (0, 0);
        let mut cuts = cuts.into_iter().cycle();
        let mut outcome = Ok(0);
        while given < bytes.len() {
            given = (given + cuts.next().unwrap_or(1)).min(bytes.len());
            match scanner.feed(&bytes[taken..given]) {
                Ok(used) => taken += used,
                Err((used, fault)) => {
                    outcome = Err((taken + used, fault));
                    break;
                }
            }
        }
        match (expected, outcome) {
            (Ok(used), Ok(_)) => prop_assert_eq!(used, taken),
            // In a body the bytes before the fault may be out already.
            (Err((used, fault)), Err((early, other))) => {
                prop_assert!(early >= used);
                // A head with two faults is refused for the one that is seen first.
                let is_line_end = |fault| matches!(fault, WireFault::BareCr | WireFault::BareLf);
                prop_assert!(fault == other || is_line_end(other), "{} {}", fault, other);
            }
            (expected, outcome) => prop_assert!(false, "{:?} {:?}", expected, outcome),
        }
    }
}
