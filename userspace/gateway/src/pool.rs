//! Connections to endpoints, kept for the next request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Upload;
use crate::counters::Counters;

/// More idle connections to one endpoint are closed.
const IDLE: usize = 64;

/// Idle connections to all endpoints together; more are closed.
const IDLE_OF_ALL: usize = 4096;

/// Older idle connections are not used: many servers end them after a minute.
const AGE: Duration = Duration::from_secs(30);

/// A connection attempt takes at most so long.
const CONNECT: Duration = Duration::from_secs(5);

/// The connections of one gateway.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Mutex<Idle>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Idle {
    of: HashMap<SocketAddr, Vec<(Instant, SendRequest<Upload>)>>,
    count: usize,
}

/// A connection that one exchange has. Dropped, it goes back to the pool if it can be used again.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    to: SocketAddr,
    sender: Option<SendRequest<Upload>>,
    /// It had been used before, so the endpoint may have ended it meanwhile.
    pub(crate) is_reused: bool,
}

impl Pool {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { idle: Mutex::default(), counters }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection to an endpoint: one that is there, or (`fresh`) a new one in any case.
    pub(crate) async fn lease(self: &Arc<Self>, to: SocketAddr, fresh: bool) -> io::Result<Lease> {
        if !fresh && let Some(sender) = self.take(to) {
            self.counters.upstream_reused.fetch_add(1, Relaxed);
            return Ok(Lease { pool: self.clone(), to, sender: Some(sender), is_reused: true });
        }
        let connect = async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
        };
        let (sender, connection) = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.counters.upstream_opened.fetch_add(1, Relaxed);
        // It ends with the endpoint, or when its sender is dropped: by a lease or by the pool.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(upstream = %to, %error, "connection to an endpoint ended");
            }
        });
        Ok(Lease { pool: self.clone(), to, sender: Some(sender), is_reused: false })
    }

    fn take(&self, to: SocketAddr) -> Option<SendRequest<Upload>> {
        let mut idle = self.idle();
        let Idle { of, count } = &mut *idle;
        let list = of.get_mut(&to)?;
        let mut found = None;
        while let Some((since, sender)) = list.pop() {
            *count -= 1;
            if since.elapsed() < AGE && sender.is_ready() {
                found = Some(sender);
                break;
            }
        }
        if list.is_empty() {
            of.remove(&to);
        }
        found
    }

    fn give_back(&self, to: SocketAddr, sender: SendRequest<Upload>) {
        let mut idle = self.idle();
        let Idle { of, count } = &mut *idle;
        if *count >= IDLE_OF_ALL {
            // Endpoints that are gone leave theirs behind.
            of.retain(|_, list| {
                list.retain(|(since, sender)| since.elapsed() < AGE && !sender.is_closed());
                !list.is_empty()
            });
            *count = of.values().map(Vec::len).sum();
        }
        if *count >= IDLE_OF_ALL {
            return;
        }
        let list = of.entry(to).or_default();
        if list.len() < IDLE {
            list.push((Instant::now(), sender));
            *count += 1;
        }
    }
}

impl Lease {
    /// The connection.
    pub(crate) fn sender(&mut self) -> Option<&mut SendRequest<Upload>> {
        self.sender.as_mut()
    }

    /// It must not be used again.
    pub(crate) fn discard(mut self) {
        self.sender = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut sender) = self.sender.take() else { return };
        if sender.is_closed() {
            return;
        }
        if sender.is_ready() {
            self.pool.give_back(self.to, sender);
            return;
        }
        // The response has been read; its connection says so in a moment, or ends.
        let (pool, to) = (self.pool.clone(), self.to);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(Ok(())) = tokio::time::timeout(AGE, sender.ready()).await {
                    pool.give_back(to, sender);
                }
            });
        }
    }
}
