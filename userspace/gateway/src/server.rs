//! Listening, and one task for each connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::counters::Counters;
use crate::exchange::Log;
use crate::forward::Forward;
use crate::pool::Pool;
use crate::snapshot::{Place, Published};
use crate::wire::Strict;

/// What clients may ask of a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// A head must have come in this long after its first byte, or after the response before it.
    pub head: Duration,
    /// Bytes of a head, 8,192 or more and at most 65,536.
    pub head_bytes: usize,
    /// Fields of a head.
    pub fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16_384, head: Duration::from_secs(15), head_bytes: 32 << 10, fields: 100 }
    }
}

/// A gateway: what its listening sockets share.
#[derive(Debug, Clone)]
pub struct Server {
    published: Arc<Published>,
    counters: Arc<Counters>,
    pool: Arc<Pool>,
    log: Log,
    limits: Limits,
    room: Arc<Semaphore>,
}

impl Server {
    /// A gateway by these snapshots. Lines of the access log go to `lines`.
    pub fn new(published: Arc<Published>, lines: Option<mpsc::Sender<String>>, limits: Limits) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            published,
            pool: Arc::new(Pool::new(counters.clone())),
            log: Log::new(lines, counters.clone()),
            counters,
            limits,
            room: Arc::new(Semaphore::new(limits.connections)),
        }
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Serves the routes of the bind at `place` to who connects to `listener`, until `stop` is true.
    /// Then nothing more is accepted, and exchanges that have begun are finished.
    ///
    /// # Errors
    ///
    /// The listening socket failed.
    pub async fn serve(
        &self,
        listener: TcpListener,
        place: Place,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let forward = Arc::new(Forward {
            place,
            published: self.published.clone(),
            pool: self.pool.clone(),
            counters: self.counters.clone(),
            log: self.log.clone(),
        });
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let accept = async {
                // The room first: who is not served waits in the kernel's queue, and not here.
                let room = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
                let (stream, client) = accept(&listener).await?;
                io::Result::Ok((room, stream, client))
            };
            // An error is a sender that is gone: nobody could stop us later.
            let is_stopping = async {
                let _ = stop.wait_for(|stop| *stop).await;
            };
            let accepted = tokio::select! {
                accepted = accept => accepted?,
                () = is_stopping => break,
            };
            let (room, stream, client) = accepted;
            self.counters.connections.fetch_add(1, Relaxed);
            let serve = connection(stream, client, forward.clone(), self.limits, stop.clone());
            connections.spawn(async move {
                serve.await;
                drop(room);
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

/// Accepts, past errors of single connections.
async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Ok(accepted),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            // Out of descriptors (EMFILE, ENFILE) or memory: others end soon, and we go on then.
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24 | 12 | 105)) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn connection(
    stream: TcpStream,
    client: SocketAddr,
    forward: Arc<Forward>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%client, %error, "a connection ended before it began");
        return;
    }
    let counters = forward.counters.clone();
    let service = service_fn(move |request| {
        let forward = forward.clone();
        async move { Ok::<_, Infallible>(forward.serve(request, client).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(limits.fields)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(Strict::new(stream, counters)), service);
    let mut served = std::pin::pin!(served);
    let is_stopping = async {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let outcome = tokio::select! {
        outcome = &mut served => Some(outcome),
        () = is_stopping => None,
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
