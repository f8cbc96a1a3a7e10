//! What follows a response that switches protocols (WebSocket): bytes, both ways.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};

use crate::counters::Counters;
use crate::patience::Patience;
use crate::stream::Stream;
use crate::upstream::Link;

/// What is read at once.
const ROOM: usize = 16 << 10;

/// A connection to an endpoint that has switched protocols.
pub(crate) struct Tunnel {
    link: Link,
    idle: Duration,
    counters: Arc<Counters>,
}

impl Tunnel {
    pub(crate) fn new(link: Link, idle: Duration, counters: Arc<Counters>) -> Self {
        Self { link, idle, counters }
    }

    /// Moves bytes until both sides have ended, one has failed, or nothing goes for long. `begun` was
    /// read of the client.
    pub(crate) async fn relay(self, client: Stream, begun: BytesMut) -> io::Result<()> {
        self.counters.tunnels.fetch_add(1, Relaxed);
        let Link { stream, buffer, .. } = self.link;
        let (from_client, to_client) = split(client);
        let (from_upstream, to_upstream) = split(stream);
        let has_moved = AtomicBool::new(false);
        let mut up = std::pin::pin!(copy(from_client, to_upstream, begun, &has_moved));
        let mut down = std::pin::pin!(copy(from_upstream, to_client, buffer, &has_moved));
        let (mut is_up, mut is_down) = (true, true);
        let mut patience = Patience::new(self.idle);
        std::future::poll_fn(|context| {
            if is_up && let Poll::Ready(ended) = up.as_mut().poll(context) {
                ended?;
                is_up = false;
            }
            if is_down && let Poll::Ready(ended) = down.as_mut().poll(context) {
                ended?;
                is_down = false;
            }
            if !is_up && !is_down {
                return Poll::Ready(Ok(()));
            }
            if has_moved.swap(false, Relaxed) {
                patience.renew();
            }
            patience.poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

/// Moves bytes in one direction to their end, and tells the end.
async fn copy(
    mut from: ReadHalf<Stream>,
    mut to: WriteHalf<Stream>,
    mut bytes: BytesMut,
    has_moved: &AtomicBool,
) -> io::Result<()> {
    loop {
        if !bytes.is_empty() {
            to.write_all(&bytes).await?;
            to.flush().await?;
            bytes.clear();
            has_moved.store(true, Relaxed);
        }
        bytes.reserve(ROOM);
        if from.read_buf(&mut bytes).await? == 0 {
            return to.shutdown().await;
        }
    }
}
