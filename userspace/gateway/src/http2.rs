//! HTTP/2 towards clients: each stream becomes a request as those of HTTP/1.1 are.
//!
//! Its framing is bounded by the `h2` crate: resets that come faster than they are served (rapid reset),
//! frames that continue a head without end, and answers to pings and settings that nobody reads end the
//! connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{COOKIE, HOST, HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::body::{ClientBody, Outgoing, Upload};
use crate::connection::stopping;
use crate::forward::Forward;
use crate::refusal::Refusal;
use crate::secured::Secured;
use crate::server::Limits;

/// Bytes of one stream that a client may send before they are read.
const STREAM_WINDOW: u32 = 256 << 10;

/// Likewise of all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// Bytes of one response that are held for a slow reader.
const SEND_BUFFER: usize = 256 << 10;

/// Streams that a client has reset and that were not looked at yet (CVE-2023-44487).
const RESETS: usize = 20;

/// Streams that were reset by us for a fault of the client's.
const LOCAL_RESETS: usize = 128;

/// A client that is silent is asked whether it lives.
const PING: Duration = Duration::from_secs(20);

/// And must answer within this.
const PONG: Duration = Duration::from_secs(10);

/// What a connection is doing.
#[derive(Debug, Default)]
struct Activity {
    streams: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
}

/// A stream that is being served.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// Serves a connection to its end. Told to stop, it finishes what has begun.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (client, secured): (SocketAddr, Secured),
    forward: Arc<Forward>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    forward.counters.connections_http2.fetch_add(1, Relaxed);
    let activity = Arc::new(Activity::default());
    let of_service = activity.clone();
    let service = service_fn(move |request| {
        of_service.streams.fetch_add(1, Relaxed);
        of_service.requests.fetch_add(1, Relaxed);
        let (forward, secured, busy) = (forward.clone(), secured.clone(), Busy(of_service.clone()));
        async move {
            let response = answer(&forward, request, (client, &secured), limits.fields).await;
            drop(busy);
            Ok::<_, Infallible>(response)
        }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let outcome = tokio::select! {
        outcome = &mut served => Some(outcome),
        () = stopping(&mut stop) => None,
        () = idle(&activity, limits.idle) => None,
    };
    let outcome = if let Some(outcome) = outcome {
        outcome
    } else {
        // Streams that have begun are finished; the client is told that no other will be (GOAWAY).
        served.as_mut().graceful_shutdown();
        served.await
    };
    if let Err(error) = outcome {
        tracing::debug!(%client, %error, "a connection of HTTP/2 ended with an error");
    }
}

/// Waits until nothing was asked for so long.
async fn idle(activity: &Activity, patience: Duration) {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep_until(since + patience).await;
        let requests = activity.requests.load(Relaxed);
        if activity.streams.load(Relaxed) == 0 && requests == before {
            return;
        }
        (before, since) = (requests, Instant::now());
    }
}

/// Makes a request what it would be in HTTP/1.1, and serves it.
async fn answer(
    forward: &Forward,
    mut request: Request<Incoming>,
    (client, secured): (SocketAddr, &Secured),
    fields: usize,
) -> Response<Outgoing> {
    let refusal =
        if request.headers().len() > fields { Some(Refusal::Fields) } else { to_http1(&mut request) };
    if let Some(refusal) = refusal.or_else(|| secured.refusal(forward, &request)) {
        return forward.refuse(refusal, &request, client);
    }
    forward.serve(request.map(|body| Upload::new(ClientBody::Http2(body))), client).await
}

/// `Host` is the authority (RFC 9113, section 8.3.1), crumbs of cookies become one (section 8.2.3).
/// What cannot be said in one way is refused.
fn to_http1(request: &mut Request<Incoming>) -> Option<Refusal> {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    let headers = request.headers_mut();
    if headers.get_all(HOST).iter().nth(1).is_some() {
        return Some(Refusal::Target);
    }
    match (authority, headers.get(HOST)) {
        (None, None) | (Some(Err(_)), _) => return Some(Refusal::Target),
        (Some(Ok(authority)), Some(host)) if authority != host => return Some(Refusal::Target),
        (Some(Ok(authority)), None) => {
            headers.insert(HOST, authority);
        }
        (Some(Ok(_)) | None, Some(_)) => {}
    }
    join_cookies(headers);
    None
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let all: Vec<&[u8]> = [first, second].into_iter().chain(crumbs).map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_of_cookies_are_one_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        join_cookies(&mut headers);
        assert_eq!(headers[COOKIE], "a=1");
        headers.append(COOKIE, HeaderValue::from_static("b=2"));
        headers.append(COOKIE, HeaderValue::from_static("c=3"));
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }
}
