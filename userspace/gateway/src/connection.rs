//! One connection of a client: clear text or TLS, HTTP/1.1 or HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::forward::Forward;
use crate::secured::Secured;
use crate::server::Limits;
use crate::stream::{Rewound, Stream};
use crate::tls::{self, HandshakeFault};
use crate::{http1, http2, preface};

/// A connection of which nothing has come when the gateway is to stop has so long to begin: its client
/// may have sent a request that is on the way.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(1);

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
        None => {
            let mut stream = Stream::Clear(stream);
            let client = (client, Secured::no());
            match begun(preface::read(&mut stream, limits.head), &stop).await {
                Ok((begun, true)) => {
                    let stream = Rewound::new(begun.freeze(), stream);
                    Box::pin(http2::serve(stream, client, forward, limits, stop)).await;
                }
                Ok((begun, false)) => http1::serve((stream, begun), client, forward, limits, stop).await,
                Err(error) => {
                    tracing::debug!(client = %client.0, %error, "a connection ended before its first request");
                }
            }
        }
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
            let is_http2 = session.alpn_protocol() == Some(tls::HTTP2);
            let stream = Stream::Tls(Box::new(stream.into()));
            if is_http2 {
                Box::pin(http2::serve(stream, client, forward, limits, stop)).await;
            } else {
                let stream = (stream, BytesMut::new());
                Box::pin(http1::serve(stream, client, forward, limits, stop)).await;
            }
        }
    }
}

/// Waits for the first bytes, and no longer than the gateway does.
async fn begun<T>(first: impl Future<Output = io::Result<T>>, stop: &watch::Receiver<bool>) -> io::Result<T> {
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
