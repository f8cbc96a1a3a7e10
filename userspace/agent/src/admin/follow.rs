//! A body that never ends: events as they happen, one JSON object a line.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::filter::Filter;
use crate::agent::Agent;
use crate::record::EventView;

/// Who follows, and what it wants.
struct Follower {
    agent: Arc<Agent>,
    events: Receiver<Arc<EventView>>,
    filter: Filter,
}

/// The line that tells a follower what it was too slow for.
#[derive(Serialize)]
struct Lost {
    kind: &'static str,
    events: u64,
}

type Next = Pin<Box<dyn Future<Output = Option<(Follower, Bytes)>> + Send>>;

/// The body; dropped with its connection, and nothing is left of it.
pub(super) struct Follow {
    next: Option<Next>,
}

impl Follow {
    /// Events from now on that pass the filter.
    pub(super) fn new(agent: Arc<Agent>, filter: Filter) -> Self {
        let events = agent.flow_log.follow();
        Self { next: Some(Box::pin(next(Follower { agent, events, filter }))) }
    }
}

/// The next line; `None` when the agent ends.
async fn next(mut follower: Follower) -> Option<(Follower, Bytes)> {
    loop {
        let line = match follower.events.recv().await {
            Ok(event) if follower.filter.takes(&event.decided) => serde_json::to_vec(&*event),
            Ok(_) => continue,
            Err(RecvError::Lagged(events)) => {
                follower.agent.flow_log.count_lost(events);
                serde_json::to_vec(&Lost { kind: "lost", events })
            }
            Err(RecvError::Closed) => return None,
        };
        let mut line = line.ok()?;
        line.push(b'\n');
        return Some((follower, line.into()));
    }
}

impl hyper::body::Body for Follow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(future) = &mut self.next else { return Poll::Ready(None) };
        match future.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.next = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some((follower, line))) => {
                self.next = Some(Box::pin(next(follower)));
                Poll::Ready(Some(Ok(Frame::data(line))))
            }
        }
    }
}
