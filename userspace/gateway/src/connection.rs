//! One connection of a client: clear text or TLS, HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::forward::Forward;
use crate::secured::Secured;
use crate::server::Limits;
use crate::tls::{self, HandshakeFault};
use crate::wire::Strict;
use crate::{http2, preface};

/// A connection of which nothing has come when the gateway is to stop has so long to begin: its client
/// may have sent a request that is on the way.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves a connection to its end. Told to stop, it finishes what has begun.
pub(crate) async fn serve(
    stream: TcpStream,
    client: SocketAddr,
    forward: Arc<Forward>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "a connection ended before it began");
        return;
    }
    // By the snapshot of now: certificates that are new are used by the next connection.
    let acceptor = forward.published.load().tls(&forward.place).map(tls::Tls::acceptor);
    match acceptor {
        None => match begun(preface::is_http2(&stream, limits.head), &stop).await {
            Ok(true) => http2::serve(stream, (client, Secured::no()), forward, limits, stop).await,
            Ok(false) => http1(stream, (client, Secured::no()), forward, limits, stop).await,
            Err(error) => tracing::debug!(%client, %error, "a connection ended before its first request"),
        },
        Some(acceptor) => {
            let counters = forward.counters.clone();
            let spoken = match acceptor {
                Some(acceptor) => tls::handshake(acceptor, stream, limits.handshake).await,
                None => Err(HandshakeFault::NoCertificate),
            };
            let stream = match spoken {
                Ok(stream) => stream,
                Err(fault) => {
                    counters.handshake_fault(fault);
                    tracing::debug!(%client, fault = fault.name(), "no TLS handshake");
                    return;
                }
            };
            counters.handshakes.fetch_add(1, Relaxed);
            let (_, session) = stream.get_ref();
            let client = (client, Secured::with_name(session.server_name()));
            // Boxed: few connections are at this point for long, and all would be as large.
            if session.alpn_protocol() == Some(tls::HTTP2) {
                Box::pin(http2::serve(stream, client, forward, limits, stop)).await;
            } else {
                Box::pin(http1(stream, client, forward, limits, stop)).await;
            }
        }
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (client, secured): (SocketAddr, Secured),
    forward: Arc<Forward>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let counters = forward.counters.clone();
    let service = service_fn(move |request| {
        let forward = forward.clone();
        let refusal = secured.refusal(&forward, &request);
        async move {
            Ok::<_, Infallible>(match refusal {
                Some(refusal) => forward.refuse(refusal, &request, client),
                None => forward.serve(request, client).await,
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(limits.fields)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Strict::new(stream, counters)), service);
    let mut served = std::pin::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => Some(outcome),
        () = stopping(&mut stop) => None,
    };
    let outcome = if let Some(outcome) = outcome {
        outcome
    } else {
        // The exchange that has begun is finished, and the connection closed behind it.
        served.as_mut().graceful_shutdown();
        served.await
    };
    if let Err(error) = outcome {
        tracing::debug!(%client, %error, "a connection ended with an error");
    }
}

/// Waits for the first bytes, and no longer than the gateway does.
async fn begun(
    first: impl Future<Output = io::Result<bool>>,
    stop: &watch::Receiver<bool>,
) -> io::Result<bool> {
    let mut stop = stop.clone();
    let over = async {
        stopping(&mut stop).await;
        tokio::time::sleep(LAST_WORD).await;
    };
    tokio::select! {
        first = first => first,
        () = over => Err(io::Error::other("the gateway ends")),
    }
}

/// Waits until the gateway is to stop. A sender that is gone counts as that: nobody could tell later.
pub(crate) async fn stopping(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
