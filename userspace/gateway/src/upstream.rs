//! A request to an endpoint over HTTP/1.1, and its response: in the task of the exchange, without
//! copies of what is large, and without another task in between.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use crate::body::{Error, Upload};
use crate::pool::{Home, Lease};
use crate::stream::{Out, Stream};
use crate::wire::{Body, Part, ResponseHead};

/// Room for a head and a small body.
const SMALL: usize = 4 << 10;

/// Room for a piece of a large body.
const LARGE: usize = 64 << 10;

/// Interim responses before the final one, at most.
const INTERIM: usize = 16;

/// Frames of a response that wait while its request's body is still being sent.
const FRAMES: usize = 2;

/// A connection to an endpoint, with what was read of it and not used.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: Stream,
    pub(crate) buffer: BytesMut,
    /// Empty between requests.
    out: Out,
}

impl Link {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, buffer: BytesMut::new(), out: Out::default() }
    }

    /// Whether an idle connection has neither ended nor said anything. Costs no call of the kernel
    /// unless something has come.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut context = Context::from_waker(std::task::Waker::noop());
        self.buffer.reserve(1);
        self.buffer.is_empty() && pin!(self.stream.read_buf(&mut self.buffer)).poll(&mut context).is_pending()
    }

    /// Reads more; false is the end.
    fn poll_read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<bool>> {
        make_room(&mut self.buffer, room);
        let count = ready!(pin!(self.stream.read_buf(&mut self.buffer)).poll(context))?;
        Poll::Ready(Ok(count > 0))
    }
}

/// Makes room for a read. A new buffer is only made when there is little room left: what was read before
/// is in use, and must be left where it is.
pub(crate) fn make_room(buffer: &mut BytesMut, room: usize) {
    if buffer.capacity() - buffer.len() < room / 4 {
        buffer.reserve(room);
    }
}

/// The head of a request on its way out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub(crate) method: &'a Method,
    /// Path and query.
    pub(crate) target: &'a str,
    /// `Host` is the first of its fields.
    pub(crate) headers: &'a HeaderMap,
    /// Asks for another protocol: `Upgrade` is that.
    pub(crate) upgrade: Option<&'a HeaderValue>,
}

/// A response that has begun.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Receiving,
}

/// Sends a request, and waits for the head of its response. Ended before that (as when it is dropped),
/// the connection is closed.
///
/// # Errors
///
/// The connection ended or nothing on it can be read; the endpoint may have had the request.
pub(crate) async fn send(lease: Lease, outbound: Outbound<'_>, upload: Upload) -> io::Result<Answered> {
    let Lease { mut link, home } = lease;
    let mut sending = Sending::new(&mut link.out, outbound, upload);
    let head = std::future::poll_fn(|context| sending.poll_head(&mut link, context, outbound));
    let (head, is_sent) = head.await?;
    let ResponseHead { status, headers, is_kept, body } = head;
    let own = Own { link: Some(link), home, body, is_kept };
    let body = if status == StatusCode::SWITCHING_PROTOCOLS {
        Receiving::Tunnel(own.link)
    } else if is_sent {
        Receiving::Own(own.ended())
    } else {
        // The request's body goes on while the response is read, whether or not its reader is slow.
        let left = own.body.left();
        let (sender, frames) = mpsc::channel(FRAMES);
        tokio::spawn(both(own, sending, sender));
        Receiving::Piped { frames, left, is_ended: left == Some(0) }
    };
    Ok(Answered { status, headers, body })
}

/// Sends the rest of a request's body, and hands on the response until nobody reads it.
async fn both(mut own: Own, mut sending: Sending, sender: mpsc::Sender<Result<Frame<Bytes>, Error>>) {
    let mut is_sent = false;
    loop {
        let next = std::future::poll_fn(|context| {
            if !is_sent && let Some(link) = &mut own.link {
                // A body that breaks off breaks the response off, too.
                is_sent = match sending.poll_send(link, context) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(error)) if sending.is_broken => {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    // An endpoint may answer and read no more.
                    Poll::Ready(Err(_)) => {
                        own.is_kept = false;
                        true
                    }
                    Poll::Pending => false,
                };
            }
            own.poll_part(context)
        });
        let next = tokio::select! {
            next = next => next,
            () = sender.closed() => return,
        };
        let is_last = !matches!(next, Some(Ok(_)));
        if let Some(frame) = next {
            // While the reader is slow the body must go on.
            let mut given = pin!(sender.send(frame));
            let is_given = std::future::poll_fn(|context| {
                if let Poll::Ready(outcome) = given.as_mut().poll(context) {
                    return Poll::Ready(outcome.is_ok());
                }
                if !is_sent && let Some(link) = &mut own.link {
                    match sending.poll_send(link, context) {
                        Poll::Ready(Ok(())) => is_sent = true,
                        Poll::Ready(Err(_)) => return Poll::Ready(false),
                        Poll::Pending => {}
                    }
                }
                Poll::Pending
            });
            if !is_given.await {
                return;
            }
        }
        if is_last {
            own.is_kept &= is_sent;
            own.give_back();
            return;
        }
    }
}

/// A request on its way out.
#[derive(Debug)]
struct Sending {
    upload: Option<Upload>,
    is_chunked: bool,
    /// The client's body has ended wrongly.
    is_broken: bool,
    interim: usize,
}

impl Sending {
    /// Writes the head.
    fn new(out: &mut Out, outbound: Outbound<'_>, upload: Upload) -> Self {
        let length = upload.size_hint().exact();
        let head = &mut out.buffer;
        head.reserve(512);
        head.put_slice(outbound.method.as_str().as_bytes());
        head.put_slice(b" ");
        head.put_slice(outbound.target.as_bytes());
        head.put_slice(b" HTTP/1.1\r\n");
        if let Some(host) = outbound.headers.get(HOST) {
            field(head, "host", host.as_bytes());
        }
        for (name, value) in outbound.headers {
            if name != HOST && name != CONTENT_LENGTH {
                field(head, name.as_str(), value.as_bytes());
            }
        }
        if let Some(protocol) = outbound.upgrade {
            field(head, "connection", b"upgrade");
            field(head, "upgrade", protocol.as_bytes());
        }
        match length {
            // A length of none is said where the client said it, or the method means a body.
            Some(0)
                if !outbound.headers.contains_key(CONTENT_LENGTH)
                    && !matches!(*outbound.method, Method::POST | Method::PUT | Method::PATCH) => {}
            Some(length) => field(head, "content-length", length.to_string().as_bytes()),
            None => field(head, "transfer-encoding", b"chunked"),
        }
        head.put_slice(b"\r\n");
        Self { upload: Some(upload), is_chunked: length.is_none(), is_broken: false, interim: 0 }
    }

    /// Sends what there is; ready when all of it has gone out.
    fn poll_send(&mut self, link: &mut Link, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // The body behind a head goes out with it, if it is there.
            while let Some(upload) = &mut self.upload
                && !link.out.is_full()
            {
                if upload.is_end_stream() {
                    self.end(&mut link.out, None);
                    break;
                }
                match Pin::new(upload).poll_frame(context) {
                    Poll::Pending => break,
                    Poll::Ready(None) => self.end(&mut link.out, None),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => self.push(&mut link.out, data),
                        Err(frame) => self.end(&mut link.out, frame.trailers_ref()),
                    },
                    Poll::Ready(Some(Err(error))) => {
                        self.is_broken = true;
                        return Poll::Ready(Err(io::Error::other(error)));
                    }
                }
            }
            if link.out.is_empty() {
                return if self.upload.is_none() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(link.out.poll_write(&mut link.stream, context))?;
        }
    }

    fn push(&self, out: &mut Out, data: Bytes) {
        if data.is_empty() {
            return;
        }
        if self.is_chunked {
            out.chunk(data);
        } else {
            out.push(data);
        }
    }

    fn end(&mut self, out: &mut Out, trailers: Option<&HeaderMap>) {
        self.upload = None;
        if self.is_chunked {
            out.last_chunk(trailers);
        }
    }

    /// Sends, and waits for the head of the response; also says whether all was sent.
    fn poll_head(
        &mut self,
        link: &mut Link,
        context: &mut Context<'_>,
        outbound: Outbound<'_>,
    ) -> Poll<io::Result<(ResponseHead, bool)>> {
        let sent = self.poll_send(link, context);
        if let Poll::Ready(Err(error)) = &sent
            && self.is_broken
        {
            return Poll::Ready(Err(io::Error::new(error.kind(), error.to_string())));
        }
        // An endpoint may refuse a body that it did not read, and close: its answer counts.
        loop {
            if let Some(head) = take_head(link, outbound, &mut self.interim)? {
                let is_whole = matches!(sent, Poll::Ready(Ok(())));
                let is_refused = matches!(sent, Poll::Ready(Err(_)));
                let head = ResponseHead { is_kept: head.is_kept && !is_refused, ..head };
                return Poll::Ready(Ok((head, is_whole || is_refused)));
            }
            if !ready!(link.poll_read(context, SMALL))? {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// The final head, if it is there; interim ones are passed over.
fn take_head(
    link: &mut Link,
    outbound: Outbound<'_>,
    interim: &mut usize,
) -> io::Result<Option<ResponseHead>> {
    let bad = |fault| io::Error::new(io::ErrorKind::InvalidData, fault);
    loop {
        let Some(head) = ResponseHead::take(&mut link.buffer, outbound.method).map_err(bad)? else {
            return Ok(None);
        };
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS if outbound.upgrade.is_some() => {}
            StatusCode::SWITCHING_PROTOCOLS => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a protocol that nobody asked for"));
            }
            status if status.is_informational() => {
                *interim += 1;
                if *interim > INTERIM {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "interim responses without end"));
                }
                continue;
            }
            _ => {}
        }
        return Ok(Some(head));
    }
}

fn field(head: &mut BytesMut, name: &str, value: &[u8]) {
    head.reserve(name.len() + value.len() + 4);
    head.put_slice(name.as_bytes());
    head.put_slice(b": ");
    head.put_slice(value);
    head.put_slice(b"\r\n");
}

/// The body of a response as it comes in. Read to its end, its connection can be used again.
#[derive(Debug)]
pub(crate) enum Receiving {
    /// From its connection.
    Own(Own),
    /// From the task that still sends the request.
    Piped { frames: mpsc::Receiver<Result<Frame<Bytes>, Error>>, left: Option<u64>, is_ended: bool },
    /// The connection speaks another protocol from here on.
    Tunnel(Option<Link>),
}

/// A body and the connection that it comes from.
#[derive(Debug)]
pub(crate) struct Own {
    link: Option<Link>,
    home: Home,
    body: Body,
    is_kept: bool,
}

impl Own {
    /// Gives the connection back if there is no body (any more).
    fn ended(mut self) -> Self {
        if self.body.is_ended() {
            self.give_back();
        }
        self
    }

    fn give_back(&mut self) {
        // What comes unasked is nothing that a next request may find.
        if let Some(link) = self.link.take()
            && self.is_kept
            && self.body.is_ended()
            && link.buffer.is_empty()
            && link.out.is_empty()
        {
            self.home.give_back(link);
        }
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        loop {
            match self.body.next(&mut link.buffer) {
                Ok(Some(Part::Data(data))) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Some(Part::Trailers(trailers))) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Some(Part::End)) => return Poll::Ready(None),
                Err(fault) => return Poll::Ready(Some(Err(fault.into()))),
                Ok(None) => {}
            }
            // As much as may come, and no more than is worth a call.
            let room = self.body.left().map_or(LARGE, |left| usize::try_from(left).unwrap_or(LARGE));
            if !ready!(link.poll_read(context, room.clamp(SMALL, LARGE)))? {
                if self.body.end_of_input() {
                    return Poll::Ready(None);
                }
                let error =
                    io::Error::new(io::ErrorKind::UnexpectedEof, "the endpoint broke its response off");
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }
}

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Own(own) => {
                let part = ready!(own.poll_part(context));
                match &part {
                    None => own.give_back(),
                    Some(Ok(_)) if own.body.is_ended() => own.give_back(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) => own.link = None,
                }
                Poll::Ready(part)
            }
            Self::Piped { frames, left, is_ended } => {
                let part = ready!(frames.poll_recv(context));
                if let Some(left) = left
                    && let Some(Ok(frame)) = &part
                    && let Some(data) = frame.data_ref()
                {
                    *left = left.saturating_sub(u64::try_from(data.len()).unwrap_or(u64::MAX));
                }
                *is_ended = part.is_none() || *left == Some(0);
                Poll::Ready(part)
            }
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(own) => own.body.is_ended(),
            Self::Piped { is_ended, .. } => *is_ended,
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self {
            Self::Own(own) => own.body.left(),
            Self::Piped { left, .. } => *left,
            Self::Tunnel(_) => Some(0),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
