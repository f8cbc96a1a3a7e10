//! Requests that two readers could read differently are refused with 400, the connection is closed,
//! and no upstream sees them.

use windrose_gateway::wire::WireFault;

use crate::world::World;

/// A second request that a lenient reader would find behind the first.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const HOST: &str = "Host: a\r\n";

/// Heads, and the fault of each.
fn heads() -> Vec<(String, WireFault)> {
    use WireFault as W;
    let post = |fields: &str| format!("POST /x HTTP/1.1\r\n{HOST}{fields}\r\n");
    vec![
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), W::LengthAndCoding),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), W::LengthAndCoding),
        (post("Content-Length: 5\r\nContent-Length: 6\r\n"), W::Length),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), W::Length),
        (post("Content-Length: 5, 5\r\n"), W::Length),
        (post("Content-Length: +5\r\n"), W::Length),
        (post("Content-Length: 0x5\r\n"), W::Length),
        (post("Content-Length: 5 5\r\n"), W::Length),
        (post("Content-Length:\r\n"), W::Length),
        (post("Content-Length: 18446744073709551621\r\n"), W::Length),
        (post("Transfer-Encoding: xchunked\r\n"), W::Coding),
        (post("Transfer-Encoding: gzip, chunked\r\n"), W::Coding),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"), W::Coding),
        (post("Transfer-Encoding: \x0bchunked\r\n"), W::FieldValue),
        (post("Transfer-Encoding : chunked\r\n"), W::FieldName),
        (post("Content-Length : 5\r\n"), W::FieldName),
        (post("Foo: bar\r\n Content-Length: 5\r\n"), W::Folding),
        (post("Foo: bar\r\n\tTransfer-Encoding: chunked\r\n"), W::Folding),
        (post("Foo: bar\nContent-Length: 5\r\n"), W::BareLf),
        (post("Foo: bar\rContent-Length: 5\r\n"), W::BareCr),
        (post("Foo: a\0b\r\n"), W::FieldValue),
        (post("Host: b\r\n"), W::Host),
        ("GET /x HTTP/1.1\r\n\r\n".to_owned(), W::Host),
        (format!("GET /x HTTP/1.1\n{HOST}\r\n"), W::BareLf),
        (format!("GET /x HTTP/1.1\r\n{HOST}\n"), W::BareLf),
        (format!("GET  /x HTTP/1.1\r\n{HOST}\r\n"), W::RequestLine),
        (format!("GET /x y HTTP/1.1\r\n{HOST}\r\n"), W::RequestLine),
        (format!("GET /x\r\n{HOST}\r\n"), W::RequestLine),
        (format!("GET /x HTTP/1.9\r\n{HOST}\r\n"), W::Version),
        (format!("POST /x HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"), W::Coding),
    ]
}

#[tokio::test]
async fn a_head_with_two_readings_is_refused_and_nothing_behind_it_is_read() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    for (head, fault) in heads() {
        let before = world.server.counters().wire_faults(fault);
        let answer = world.raw(format!("{head}{SMUGGLED}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?}: {answer:?}");
        assert_eq!(world.server.counters().wire_faults(fault), before + 1, "{head:?}");
    }
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn a_body_with_two_readings_is_cut_and_nothing_behind_it_is_read() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    for (body, fault) in [
        ("5 \r\nhello\r\n0\r\n\r\n", WireFault::ChunkSize),
        ("0x5\r\nhello\r\n0\r\n\r\n", WireFault::ChunkSize),
        ("-1\r\nhello\r\n0\r\n\r\n", WireFault::ChunkSize),
        ("10000000000000005\r\nhello\r\n0\r\n\r\n", WireFault::ChunkSize),
        ("5\nhello\r\n0\r\n\r\n", WireFault::BareLf),
        ("5;a\nb\r\nhello\r\n0\r\n\r\n", WireFault::BareLf),
        ("5\rhello\r\n0\r\n\r\n", WireFault::BareCr),
        ("5\r\nhelloX0\r\n\r\n", WireFault::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", WireFault::ChunkEnd),
        ("0\r\nContent-Length: 5\r\n\r\n", WireFault::Trailer),
    ] {
        let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let before = world.server.counters().wire_faults(fault);
        let answer = world.raw(format!("{head}{body}{SMUGGLED}").as_bytes()).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{body:?}: {answer:?}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{body:?}: {answer:?}");
        assert_eq!(world.server.counters().wire_faults(fault), before + 1, "{body:?}");
    }
    // An upstream may have seen the beginning of one, never its end, and never what is behind.
    assert_eq!(*seen.lock().unwrap(), Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn what_came_before_a_refused_request_is_answered() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    let answer = world
        .raw(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\nGET /two HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n")
        .await;
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|rest| &rest[..3]).collect();
    assert_eq!(statuses, ["200", "400"], "{answer:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn plain_messages_pass_and_are_framed_anew() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    let answer = world
        .raw(
            b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
              POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n\
              GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\r\n",
        )
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer:?}");
    world.stop().await;
    let seen = seen.lock().unwrap();
    assert!(seen[0].contains("content-length: 5") && seen[0].ends_with("hello"), "{}", seen[0]);
    assert!(seen[1].contains("transfer-encoding: chunked") && !seen[1].contains("x=y"), "{}", seen[1]);
    assert!(
        !seen[2].contains("x-hop") && !seen[2].contains("te:") && !seen[2].contains("connection"),
        "{}",
        seen[2]
    );
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let (world, seen) = World::with_route("rules: [{backendRefs: [{name: a, port: 80}]}]").await;
    let bomb = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(200));
    for head in [bomb, many] {
        let answer = world.raw(head.as_bytes()).await;
        // A client that still sends may see a reset instead of the answer.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    }
    assert!(seen.lock().unwrap().is_empty());
    world.stop().await;
}
