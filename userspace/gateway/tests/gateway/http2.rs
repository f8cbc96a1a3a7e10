//! Sentences about HTTP/2: by ALPN, by prior knowledge, and within bounds.

use std::io::{Read as _, Write as _};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::door::{Door, WEB, service, until_true};
use crate::secure::{TLS, client, connect, secrets, shop};
use crate::world::{Seen, route, upstream};

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<Full<Bytes>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Status and body.
async fn ask(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn clear(door: &Door) -> Seen {
    let (at, seen) = door.runtime.block_on(upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    door.publish(&(door.web() + &service("a", at) + &route("rules: [{backendRefs: [{name: a, port: 80}]}]")));
    seen
}

#[test]
fn http2_is_spoken_by_alpn() {
    let door = Door::open();
    door.publish(&(shop(&door) + &secrets()));
    let config = client(&[&rustls::version::TLS13], &["h2", "http/1.1"]);
    door.runtime.block_on(async {
        let stream = connect(&config, door.at(TLS), "shop.example").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut sender = speak(stream).await;
        let get = Request::get("https://shop.example/").body(Full::default()).unwrap();
        assert_eq!(ask(&mut sender, get).await, (StatusCode::OK, "ok".to_owned()));
    });
    assert_eq!(door.gateway.total(|counters| counters.connections_http2.load(Ordering::Relaxed)), 1);
}

#[test]
fn a_host_of_another_listener_needs_a_connection_of_its_own() {
    let door = Door::open();
    door.publish(&(shop(&door) + &secrets()));
    for alpn in ["h2", "http/1.1"] {
        let config = client(&[&rustls::version::TLS13], &[alpn]);
        door.runtime.block_on(async {
            for (name, host, expected) in [
                ("shop.example", "shop.example:18443", 200),
                ("shop.example", "a.shop.example", 421),
                ("a.shop.example", "b.shop.example", 200),
                ("a.shop.example", "shop.example", 421),
            ] {
                let stream = connect(&config, door.at(TLS), name).await.unwrap();
                let status = if alpn == "h2" {
                    let mut sender = speak(stream).await;
                    let get = Request::get(format!("https://{host}/")).body(Full::default()).unwrap();
                    ask(&mut sender, get).await.0.as_u16()
                } else {
                    let (mut sender, connection) =
                        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                    tokio::spawn(connection);
                    let get = Request::get("/").header("host", host).body(Empty::<Bytes>::new()).unwrap();
                    sender.send_request(get).await.unwrap().status().as_u16()
                };
                assert_eq!(status, expected, "{alpn} {name} {host}");
            }
        });
    }
}

#[test]
fn a_stream_becomes_the_request_that_it_would_be_in_http1() {
    let door = Door::open();
    let seen = clear(&door);
    door.runtime.block_on(async {
        let mut sender = speak(TcpStream::connect(door.at(WEB)).await.unwrap()).await;
        let post = Request::post("http://shop.example:18080/a/./b?q=1")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::from("hello"))
            .unwrap();
        assert_eq!(ask(&mut sender, post).await, (StatusCode::OK, "ok".to_owned()));
        let requests: Vec<_> = (0..100)
            .map(|_| sender.send_request(Request::get("http://shop.example/").body(Full::default()).unwrap()))
            .collect();
        for response in requests {
            assert_eq!(response.await.unwrap().status(), StatusCode::OK);
        }
    });
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with("POST /a/b?q=1 HTTP/1.1\r\n"), "{}", seen[0]);
    for part in
        ["host: shop.example:18080\r\n", "x-forwarded-host: shop.example:18080\r\n", "cookie: a=1; b=2\r\n"]
    {
        assert!(seen[0].contains(part), "{part} is not in {}", seen[0]);
    }
    assert!(seen[0].contains("content-length: 5\r\n") && seen[0].ends_with("\r\n\r\nhello"), "{}", seen[0]);
    assert_eq!(seen.len(), 101);
}

#[test]
fn what_has_two_readings_or_is_too_much_is_refused() {
    let door = Door::open();
    let seen = clear(&door);
    door.runtime.block_on(async {
        let mut sender = speak(TcpStream::connect(door.at(WEB)).await.unwrap()).await;
        let get = || Request::get("http://shop.example/");
        let two = get().header("host", "other.example").body(Full::default()).unwrap();
        assert_eq!(ask(&mut sender, two).await.0, StatusCode::BAD_REQUEST);
        let many = (0..150).fold(get(), |request, n| request.header(format!("x-{n}"), "1"));
        let many = many.body(Full::default()).unwrap();
        assert_eq!(ask(&mut sender, many).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let large = get().header("x", "a".repeat(40 << 10)).body(Full::default()).unwrap();
        assert_eq!(ask(&mut sender, large).await.0, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let traversal = Request::get("http://shop.example/a/..%2fb").body(Full::default()).unwrap();
        assert_eq!(ask(&mut sender, traversal).await.0, StatusCode::BAD_REQUEST);
    });
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn requests_that_are_taken_back_faster_than_served_end_the_connection() {
    let door = Door::open();
    clear(&door);
    let mut stream = door.connect(WEB);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    // GET, http, `/` and an authority, all of them indexed or literal without indexing (RFC 7541).
    let head = b"\x82\x86\x84\x01\x01a";
    let mut frames = Vec::new();
    for stream_id in (1_u32..4_000).step_by(2) {
        frames.extend_from_slice(&[0, 0, 6, 1, 5]);
        frames.extend_from_slice(&stream_id.to_be_bytes());
        frames.extend_from_slice(head);
        frames.extend_from_slice(&[0, 0, 4, 3, 0]);
        frames.extend_from_slice(&stream_id.to_be_bytes());
        frames.extend_from_slice(&8_u32.to_be_bytes());
    }
    // The gateway may have closed before all was sent.
    let _ = stream.write_all(&frames);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    // GOAWAY (7) with ENHANCE_YOUR_CALM (11), unless the reset of the connection came first.
    let frames: Vec<(u8, Vec<u8>)> = read_frames(&said);
    let is_calmed = frames.iter().any(|(kind, body)| *kind == 7 && body.get(7) == Some(&11));
    assert!(is_calmed || said.is_empty(), "{frames:?}");
}

fn read_frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        frames.push((*kind, rest[..length.min(rest.len())].to_vec()));
        bytes = rest.get(length..).unwrap_or_default();
    }
    frames
}

#[test]
fn a_preface_in_pieces_is_one() {
    let door = Door::open();
    clear(&door);
    let mut stream = door.connect(WEB);
    stream.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    // Its SETTINGS come.
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], 4);
}

#[test]
fn streams_that_have_begun_are_finished_at_the_end() {
    let door = Door::open();
    clear(&door);
    let (mut sender, connection) = door.runtime.block_on(async {
        let stream = TcpStream::connect(door.at(WEB)).await.unwrap();
        let (sender, connection) =
            http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        (sender, tokio::spawn(connection))
    });
    let get = || Request::get("http://shop.example/").body(Empty::new()).unwrap();
    let first = door.runtime.block_on(sender.send_request(get())).unwrap();
    assert_eq!(first.status(), StatusCode::OK);
    let Door { gateway, runtime, .. } = door;
    gateway.stop();
    // It was told to go away, and not cut off.
    runtime.block_on(connection).unwrap().unwrap();
    until_true("the connection is closed", || sender.is_closed());
}
