//! Answers operators over HTTP/1.1 on the admin address.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::agent::Agent;

mod edge;
mod filter;
mod follow;
mod query;
mod reply;
mod requests;
mod route;

pub(crate) use query::encode;

/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 64;

/// A request's head must have come after so long; an idle connection ends.
const HEAD: Duration = Duration::from_secs(10);

/// A larger head is refused with 431.
const HEAD_BYTES: usize = 16 << 10;

/// A head with more fields is refused with 431.
const HEAD_FIELDS: usize = 64;

/// Serves until told to stop; connections that are under way are then ended.
pub(crate) async fn serve(
    listener: TcpListener,
    agent: Arc<Agent>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, for one: to accept again at once would only spin.
                tracing::warn!(%error, "cannot accept a connection of an operator");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let agent = Arc::clone(&agent);
        connections.spawn(async move {
            let service = service_fn(move |request| route::answer(Arc::clone(&agent), request));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEAD_FIELDS)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection of an operator ended early");
            }
        });
    }
    connections.shutdown().await;
    Ok(())
}
