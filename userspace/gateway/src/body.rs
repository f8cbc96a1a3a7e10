//! Bodies on their way: counted, bounded in time, and told truthfully when they are cut short.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;

use crate::exchange::Exchange;
use crate::http1::RequestBody;
use crate::upstream::{Link, Receiving};

/// What a body ends with when it cannot be ended well.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// The body of a response, with its exchange: both end together.
    pub(crate) struct Outgoing {
        #[pin]
        body: Source,
        exchange: Exchange,
        #[pin]
        deadline: Option<Sleep>,
        is_ended: bool,
    }

    impl PinnedDrop for Outgoing {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // A body that says it has nothing left need not be asked for its end.
            if !*this.is_ended && !this.body.is_end_stream() {
                this.exchange.is_cut_short = true;
            }
        }
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source {
        Ours { #[pin] body: Full<Bytes> },
        Upstreams { #[pin] body: Receiving },
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ours { body } => body.is_end_stream(),
            Self::Upstreams { body } => body.is_end_stream(),
        }
    }
}

/// The body of a request on its way to an endpoint.
#[derive(Debug)]
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// What the client sends.
    Client {
        /// It.
        body: ClientBody,
        /// Set when it ends wrongly.
        is_broken: Arc<AtomicBool>,
    },
}

/// What a client sends.
#[derive(Debug)]
pub(crate) enum ClientBody {
    Http1(RequestBody),
    Http2(Incoming),
}

impl Upload {
    pub(crate) fn new(body: ClientBody) -> Self {
        let is_ended = match &body {
            ClientBody::Http1(body) => body.is_end_stream(),
            ClientBody::Http2(body) => body.is_end_stream(),
        };
        if is_ended { Self::Empty } else { Self::Client { body, is_broken: Arc::default() } }
    }

    /// Tells later whether it has ended wrongly; `None`: there is none.
    pub(crate) fn is_broken(&self) -> Option<Arc<AtomicBool>> {
        match self {
            Self::Empty => None,
            Self::Client { is_broken, .. } => Some(is_broken.clone()),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Client { body, is_broken } => {
                let frame = match body {
                    ClientBody::Http1(body) => {
                        ready!(Pin::new(body).poll_frame(context)).map(|frame| frame.map_err(Error::from))
                    }
                    ClientBody::Http2(body) => {
                        ready!(Pin::new(body).poll_frame(context)).map(|frame| frame.map_err(Error::from))
                    }
                };
                if matches!(frame, Some(Err(_))) {
                    is_broken.store(true, Relaxed);
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body: ClientBody::Http1(body), .. } => body.is_end_stream(),
            Self::Client { body: ClientBody::Http2(body), .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body: ClientBody::Http1(body), .. } => body.size_hint(),
            Self::Client { body: ClientBody::Http2(body), .. } => body.size_hint(),
        }
    }
}

impl Outgoing {
    /// A body that the gateway made.
    pub(crate) fn ours(body: impl Into<Bytes>, exchange: Exchange) -> Self {
        let body = Source::Ours { body: Full::new(body.into()) };
        Self { body, exchange, deadline: None, is_ended: false }
    }

    /// A body of an endpoint.
    pub(crate) fn upstreams(
        body: Receiving,
        exchange: Exchange,
        deadline: Option<tokio::time::Instant>,
    ) -> Self {
        let is_ended = body.is_end_stream();
        let deadline = deadline.map(tokio::time::sleep_until);
        Self { body: Source::Upstreams { body }, exchange, deadline, is_ended }
    }

    /// Its last bytes did not reach the client.
    pub(crate) fn cut_short(self: Pin<&mut Self>) {
        self.project().exchange.is_cut_short = true;
    }

    /// The connection to the endpoint, if it speaks another protocol from here on.
    pub(crate) fn tunnel(self: Pin<&mut Self>) -> Option<Link> {
        match self.project().body.project() {
            SourceProjection::Upstreams { body } => match body.get_mut() {
                Receiving::Tunnel(link) => link.take(),
                Receiving::Own(_) | Receiving::Piped { .. } => None,
            },
            SourceProjection::Ours { .. } => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        if let Some(deadline) = this.deadline.as_mut().as_pin_mut()
            && deadline.poll(context).is_ready()
        {
            return Poll::Ready(Some(Err("the exchange took too long".into())));
        }
        let frame = match this.body.project() {
            SourceProjection::Ours { body } => {
                ready!(body.poll_frame(context)).map(|frame| frame.map_err(|never| match never {}))
            }
            SourceProjection::Upstreams { body } => {
                ready!(body.poll_frame(context))
            }
        };
        match &frame {
            None => *this.is_ended = true,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.exchange.sent_bytes += u64::try_from(length).unwrap_or(u64::MAX);
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Ours { body } => body.size_hint(),
            Source::Upstreams { body } => body.size_hint(),
        }
    }
}
