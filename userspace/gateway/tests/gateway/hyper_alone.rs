//! What hyper refuses by itself: the reason for the strict reader, written down so that a new version
//! of hyper that changes its mind is noticed.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::world::raw;

async fn hyper_alone() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request: Request<Incoming>| async {
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                let body = body.unwrap_or_else(|_| Bytes::from_static(b"broken"));
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            });
            tokio::spawn(
                http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    at
}

#[tokio::test]
async fn hyper_lets_some_of_it_pass() {
    let at = hyper_alone().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut passed = Vec::new();
    for (name, text) in [
        (
            "length and coding",
            format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("equal lengths", format!("{head}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")),
        ("other lengths", format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello")),
        ("list of lengths", format!("{head}Content-Length: 5, 5\r\n\r\nhello")),
        ("signed length", format!("{head}Content-Length: +5\r\n\r\nhello")),
        ("unknown coding", format!("{head}Transfer-Encoding: xchunked\r\n\r\n")),
        ("coding before chunked", format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        (
            "coding twice",
            format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("space before colon", format!("{head}Content-Length : 5\r\n\r\nhello")),
        ("folding", format!("{head}X: a\r\n b\r\n\r\n")),
        ("bare lf", format!("{head}X: a\nY: b\r\n\r\n")),
        ("bare cr", format!("{head}X: a\rb\r\n\r\n")),
        ("nul", format!("{head}X: a\0b\r\n\r\n")),
        ("two hosts", format!("{head}Host: b\r\n\r\n")),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("chunk with space", format!("{chunked}5 \r\nhello\r\n0\r\n\r\n")),
        ("chunk with 0x", format!("{chunked}0x5\r\nhello\r\n0\r\n\r\n")),
        ("chunk with bare lf", format!("{chunked}5\nhello\r\n0\r\n\r\n")),
        ("lf in extension", format!("{chunked}5;a\nb\r\nhello\r\n0\r\n\r\n")),
        ("chunk end", format!("{chunked}5\r\nhelloXX0\r\n\r\n")),
        ("trailer length", format!("{chunked}0\r\nContent-Length: 5\r\n\r\n")),
    ] {
        let answer = raw(at, text.as_bytes()).await;
        if answer.starts_with("HTTP/1.1 200") && !answer.ends_with("broken")
            || answer.starts_with("HTTP/1.0 200") && !answer.ends_with("broken")
        {
            passed.push(name);
        }
    }
    let expected = [
        "length and coding",
        "equal lengths",
        "coding before chunked",
        "coding twice",
        "bare lf",
        "two hosts",
        "no host",
        "chunk with space",
        "trailer length",
    ];
    assert_eq!(passed, expected);
}
