//! `/requests?follow`: exchanges of the gateway as they end, one JSON object a line, without end.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::reply::{Body, body_of, fault};
use crate::agent::Agent;

type Next = Pin<Box<dyn Future<Output = Option<(Follower, Bytes)>> + Send>>;

/// Who follows.
struct Follower {
    agent: Arc<Agent>,
    lines: Receiver<Arc<str>>,
}

/// The body; dropped with its connection, and nothing is left of it.
struct Follow {
    next: Option<Next>,
}

/// Answers the request.
pub(super) fn answer(agent: Arc<Agent>, asked: &[(String, String)]) -> Response<Body> {
    if asked.len() != 1 || asked[0].0 != "follow" {
        return fault(StatusCode::BAD_REQUEST, "/requests takes the field `follow`, and only that");
    }
    let lines = agent.north.requests.follow();
    let follow = Follow { next: Some(Box::pin(next(Follower { agent, lines }))) };
    body_of(StatusCode::OK, "application/x-ndjson", follow.boxed_unsync())
}

/// The next line; `None` when the agent ends.
async fn next(mut follower: Follower) -> Option<(Follower, Bytes)> {
    let line = match follower.lines.recv().await {
        Ok(line) => format!("{line}\n"),
        Err(RecvError::Lagged(lines)) => {
            follower.agent.north.requests.count_lost(lines);
            format!("{{\"lost\":{lines}}}\n")
        }
        Err(RecvError::Closed) => return None,
    };
    Some((follower, line.into()))
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
