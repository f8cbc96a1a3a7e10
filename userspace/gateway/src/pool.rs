//! Connections to endpoints, kept for the next request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::counters::Counters;
use crate::stream::Stream;
use crate::upstream::Link;

/// More idle connections to one endpoint are closed.
const IDLE: usize = 64;

/// Idle connections to all endpoints together; more are closed.
const IDLE_OF_ALL: usize = 4096;

/// Older idle connections are not used: many servers end them after a minute.
const AGE: Duration = Duration::from_secs(30);

/// How often idle connections are looked at.
const SWEEP: Duration = Duration::from_secs(2);

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
    of: HashMap<SocketAddr, Vec<(Instant, Link)>>,
    count: usize,
    /// Somebody looks after them.
    is_swept: bool,
}

/// A connection that one exchange has. Dropped, it is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) link: Link,
    pub(crate) home: Home,
}

/// Where a connection goes back to.
#[derive(Debug)]
pub(crate) struct Home {
    pool: Arc<Pool>,
    to: SocketAddr,
}

impl Pool {
    pub(crate) fn new(counters: Arc<Counters>) -> Self {
        Self { idle: Mutex::default(), counters }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection to an endpoint, that has not ended as far as is known.
    pub(crate) fn kept(self: &Arc<Self>, to: SocketAddr) -> Option<Lease> {
        let link = self.take(to)?;
        self.counters.upstream_reused.fetch_add(1, Relaxed);
        Some(Lease { link, home: Home { pool: self.clone(), to } })
    }

    /// A new connection to an endpoint.
    pub(crate) async fn open(self: &Arc<Self>, to: SocketAddr) -> io::Result<Lease> {
        let connect = async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        let stream = tokio::time::timeout(CONNECT, connect)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.counters.upstream_opened.fetch_add(1, Relaxed);
        Ok(Lease { link: Link::new(Stream::Clear(stream)), home: Home { pool: self.clone(), to } })
    }

    fn take(&self, to: SocketAddr) -> Option<Link> {
        let mut idle = self.idle();
        let Idle { of, count, .. } = &mut *idle;
        let list = of.get_mut(&to)?;
        while let Some((since, mut link)) = list.pop() {
            *count -= 1;
            if since.elapsed() < AGE && link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    fn give_back(self: &Arc<Self>, to: SocketAddr, link: Link) {
        let mut idle = self.idle();
        if idle.count >= IDLE_OF_ALL {
            // Endpoints that are gone leave theirs behind.
            idle.sweep();
        }
        if idle.count >= IDLE_OF_ALL {
            return;
        }
        let Idle { of, count, is_swept } = &mut *idle;
        let list = of.entry(to).or_default();
        if list.len() < IDLE {
            list.push((Instant::now(), link));
            *count += 1;
        }
        if !std::mem::replace(is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

/// Closes what endpoints have ended or nobody has used for long, until nothing is kept.
async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.sweep();
        if idle.count == 0 {
            idle.is_swept = false;
            return;
        }
    }
}

impl Idle {
    fn sweep(&mut self) {
        self.of.retain(|_, list| {
            list.retain_mut(|(since, link)| since.elapsed() < AGE && link.is_quiet());
            !list.is_empty()
        });
        self.count = self.of.values().map(Vec::len).sum();
    }
}

impl Home {
    /// Keeps a connection for the next exchange.
    pub(crate) fn give_back(&self, link: Link) {
        self.pool.give_back(self.to, link);
    }
}
