//! Listening, and one task for each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::connection;
use crate::counters::Counters;
use crate::exchange::Log;
use crate::forward::Forward;
use crate::lines::Lines;
use crate::pool::Pool;
use crate::snapshot::{Place, Published};

/// What clients may ask of a gateway.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait to be accepted.
    pub connections: usize,
    /// A head must have come in this long after its first byte, or after the response before it.
    pub head: Duration,
    /// A body of a request that sends nothing for so long is given up.
    pub body: Duration,
    /// So is a response of which a client reads nothing for so long.
    pub write: Duration,
    /// And a tunnel (WebSocket) through which nothing goes for so long.
    pub tunnel: Duration,
    /// Bytes of a head, 8,192 or more and at most 65,536.
    pub head_bytes: usize,
    /// Fields of a head.
    pub fields: usize,
    /// A TLS handshake takes at most so long.
    pub handshake: Duration,
    /// Requests at once on one connection of HTTP/2.
    pub streams: u32,
    /// A connection of HTTP/2 ends when it had no request for so long. (One of HTTP/1.1 ends by `head`.)
    pub idle: Duration,
    /// Exchanges that have begun when a listener ends are waited for so long, then cut short.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            head: Duration::from_secs(15),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            tunnel: Duration::from_hours(1),
            head_bytes: 32 << 10,
            fields: 100,
            handshake: Duration::from_secs(10),
            streams: 128,
            idle: Duration::from_mins(1),
            drain: Duration::from_secs(30),
        }
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
    pub fn new(published: Arc<Published>, lines: Option<Lines>, limits: Limits) -> Self {
        let room = Arc::new(Semaphore::new(limits.connections));
        Self::of_worker(published, lines, limits, (0, room))
    }

    /// That of a worker, by its number, with its own connections to endpoints; the room for clients is
    /// that of all.
    pub(crate) fn of_worker(
        published: Arc<Published>,
        lines: Option<Lines>,
        limits: Limits,
        (worker, room): (usize, Arc<Semaphore>),
    ) -> Self {
        let counters = Arc::new(Counters::of(worker));
        Self {
            published,
            pool: Arc::new(Pool::new(counters.clone())),
            log: Log::new(lines, counters.clone()),
            counters,
            limits,
            room,
        }
    }

    /// What it counts.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Serves the routes of the bind at `place` to who connects to `listener`, until `stop` is true.
    /// Then nothing more is accepted but who waits already, and exchanges that have begun are finished
    /// as far as there is time for that.
    ///
    /// # Errors
    ///
    /// The listening socket failed.
    pub async fn serve(
        &self,
        listener: TcpListener,
        place: Place,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        self.serve_while((listener, ()), place, stop).await
    }

    /// Likewise; `open` is dropped when the socket is closed, and not as late as its exchanges end.
    pub(crate) async fn serve_while<T: Send>(
        &self,
        (listener, open): (TcpListener, T),
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
            connections.spawn(self.connection(accepted, &forward, &stop));
        }
        // Their clients have connected, and to close the socket would end them unheard.
        for accepted in self.waiting(&listener).await {
            connections.spawn(self.connection(accepted, &forward, &stop));
        }
        drop((listener, open));
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.drain, all).await.is_err() {
            tracing::warn!(
                connections = connections.len(),
                "exchanges were not finished in time: they are cut short"
            );
            connections.shutdown().await;
        }
        Ok(())
    }

    /// Serves a connection, and counts it.
    fn connection(
        &self,
        (room, stream, client): (OwnedSemaphorePermit, TcpStream, SocketAddr),
        forward: &Arc<Forward>,
        stop: &watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let open = Open::new(&self.counters);
        let serve = connection::serve(stream, client, forward.clone(), self.limits, stop.clone());
        async move {
            serve.await;
            drop((open, room));
        }
    }

    /// Who waits in the kernel's queue, as far as there is room.
    async fn waiting(&self, listener: &TcpListener) -> Vec<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let mut all = Vec::new();
        while let Ok(room) = self.room.clone().try_acquire_owned() {
            let next = std::future::poll_fn(|context| {
                Poll::Ready(match listener.poll_accept(context) {
                    Poll::Ready(Ok(accepted)) => Some(accepted),
                    Poll::Ready(Err(_)) | Poll::Pending => None,
                })
            });
            let Some((stream, client)) = next.await else { break };
            all.push((room, stream, client));
        }
        all
    }
}

/// A connection that is open, and counted as such.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.connections.fetch_add(1, Relaxed);
        counters.connections_open.fetch_add(1, Relaxed);
        Self(counters.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections_open.fetch_sub(1, Relaxed);
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
