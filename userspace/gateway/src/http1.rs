//! HTTP/1.1 towards clients: one task reads a request, has it served, writes its response.

mod request;
mod response;

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::body::Body as _;
use hyper::header::{CONNECTION, TE};
use hyper::{Method, Request, Response, StatusCode, Version};
use tokio::io::{AsyncWriteExt as _, WriteHalf};
use tokio::sync::watch;

pub(crate) use request::RequestBody;

use crate::body::{ClientBody, Outgoing, Upload};
use crate::connection::{LAST_WORD, stopping};
use crate::counters::Slow;
use crate::forward::Forward;
use crate::patience::Patience;
use crate::secured::Secured;
use crate::server::Limits;
use crate::stream::{Out, Stream};
use crate::tunnel;
use crate::wire::{self, Head, Requests, Unread};
use request::{Reader, Shelf};

/// After a response to a request that was not read as a whole so much of it is read and thrown away:
/// a close with bytes unread would reset the connection, and the response with it.
const LINGER_BYTES: usize = 1 << 20;

/// And for so long.
const LINGER: Duration = Duration::from_secs(2);

/// Serves a connection to its end; `begun` was read of it. Told to stop, it finishes what has begun.
pub(crate) async fn serve(
    (stream, begun): (Stream, BytesMut),
    (client, secured): (SocketAddr, Secured),
    forward: Arc<Forward>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let (read, write) = tokio::io::split(stream);
    let told = stop.clone();
    let connection = Connection {
        reader: Some(Reader::new(read, begun)),
        writer: write,
        out: Out::default(),
        shelf: Arc::default(),
        requests: Requests::new(),
        patience: Patience::new(limits.head),
        writing: None,
        is_first: true,
        client,
        secured,
        forward,
        limits,
        stop: told,
    };
    let stopping = async move { stopping(&mut stop).await };
    if let Err(error) = connection.run(pin!(stopping)).await {
        tracing::debug!(%client, %error, "a connection ended with an error");
    }
}

/// A connection between two requests, or in one.
struct Connection {
    /// `None`: the body of a request has it.
    reader: Option<Reader>,
    writer: WriteHalf<Stream>,
    out: Out,
    /// Where a body puts the reader back.
    shelf: Arc<Shelf>,
    requests: Requests,
    patience: Patience,
    /// How long the client has not read what is written; `None`: it reads.
    writing: Option<Patience>,
    is_first: bool,
    client: SocketAddr,
    secured: Secured,
    forward: Arc<Forward>,
    limits: Limits,
    stop: watch::Receiver<bool>,
}

/// What comes next on a connection.
#[expect(clippy::large_enum_variant, reason = "a head is what nearly always comes, and is moved once")]
enum Next {
    Head(Head),
    Unread(Unread),
    /// A head had begun, and did not end in time.
    Slow,
    Ended,
}

/// What becomes of a connection behind a response.
enum After {
    /// The next request.
    Next,
    /// It ends; what of the request was not read is let come for a moment.
    Close,
    /// It ends at once: the client is gone, or sees by itself that its response is not whole.
    Drop,
    /// It ends by a reset.
    Reset,
    /// It speaks another protocol.
    Tunnel(Box<tunnel::Tunnel>),
}

impl Connection {
    async fn run(mut self, mut stopping: Pin<&mut impl Future<Output = ()>>) -> io::Result<()> {
        loop {
            let head = match self.next(stopping.as_mut()).await? {
                Next::Head(head) => head,
                Next::Ended => return Ok(()),
                Next::Unread(unread) => {
                    response::refuse(&mut self.out, unread, &self.forward.counters);
                    return self.close().await;
                }
                Next::Slow => {
                    self.forward.counters.slow(Slow::Head);
                    response::too_slow(&mut self.out);
                    return self.close().await;
                }
            };
            self.is_first = false;
            match self.exchange(head).await? {
                After::Next => self.patience.renew(),
                After::Close => return self.close().await,
                After::Drop => return Ok(()),
                After::Reset => {
                    self.reset();
                    return Ok(());
                }
                After::Tunnel(tunnel) => {
                    let Some(reader) = self.reader else { return Ok(()) };
                    let (half, buffer) = reader.into_parts();
                    return tunnel.relay(half.unsplit(self.writer), buffer).await;
                }
            }
        }
    }

    /// Waits for a head.
    async fn next(&mut self, mut stopping: Pin<&mut impl Future<Output = ()>>) -> io::Result<Next> {
        let Some(reader) = &mut self.reader else { return Ok(Next::Ended) };
        let bounds = (self.limits.head_bytes, self.limits.fields);
        let mut is_told = false;
        loop {
            match self.requests.next(reader.buffer(), bounds) {
                Ok(Some(head)) => return Ok(Next::Head(head)),
                Ok(None) => {}
                Err(unread) => return Ok(Next::Unread(unread)),
            }
            let is_empty = reader.buffer().is_empty();
            let (patience, is_first) = (&mut self.patience, self.is_first);
            let read = std::future::poll_fn(|context| {
                if let Poll::Ready(read) = reader.poll_read(context) {
                    return Poll::Ready(read.map(Some));
                }
                if is_empty && !is_told && stopping.as_mut().poll(context).is_ready() {
                    // A request that is on the way when the gateway stops is served, the first one of
                    // its connection at least.
                    if !is_first {
                        return Poll::Ready(Ok(None));
                    }
                    is_told = true;
                    patience.renew_for(LAST_WORD);
                }
                patience.poll(context).map(|()| Ok(None))
            });
            match read.await? {
                Some(true) => {}
                None if !is_empty => return Ok(Next::Slow),
                Some(false) | None => return Ok(Next::Ended),
            }
        }
    }

    /// Serves one request.
    async fn exchange(&mut self, head: Head) -> io::Result<After> {
        let Head { method, target, is_http_11, headers, is_kept, is_expecting, body } = head;
        let asked = Asked {
            is_head: method == Method::HEAD,
            is_http_11,
            is_kept,
            takes_trailers: headers.get(TE).is_some_and(|te| te.as_bytes().starts_with(b"trailers")),
        };
        let mut request = Request::new(self.upload(body, is_expecting));
        *request.method_mut() = method;
        *request.uri_mut() = target;
        *request.version_mut() = if is_http_11 { Version::HTTP_11 } else { Version::HTTP_10 };
        *request.headers_mut() = headers;
        let forward = self.forward.clone();
        let response = match self.secured.refusal(&forward, &request) {
            Some(refusal) => forward.refuse(refusal, &request, self.client),
            None => match self.served(pin!(forward.serve(request, self.client))).await {
                Some(response) => response,
                None => return Ok(After::Drop),
            },
        };
        self.answer(response, asked).await
    }

    /// The body of a request, which has the reader for as long as there is something to read.
    fn upload(&mut self, body: wire::Body, is_expecting: bool) -> Upload {
        if body.is_ended() {
            return Upload::Empty;
        }
        let Some(reader) = self.reader.take() else { return Upload::Empty };
        let counters = self.forward.counters.clone();
        let body =
            RequestBody::new((reader, body), is_expecting, self.shelf.clone(), counters, self.limits.body);
        Upload::new(ClientBody::Http1(body))
    }

    /// Waits for a response, and for the client to go: then there is none.
    async fn served(
        &mut self,
        mut service: Pin<&mut impl Future<Output = Response<Outgoing>>>,
    ) -> Option<Response<Outgoing>> {
        std::future::poll_fn(|context| {
            if let Poll::Ready(response) = service.as_mut().poll(context) {
                return Poll::Ready(Some(response));
            }
            if self.shelf.is_continue_wanted() {
                self.out.buffer.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !self.out.is_empty()
                && let Poll::Ready(Err(_)) = self.out.poll_write(&mut self.writer, context)
            {
                return Poll::Ready(None);
            }
            if self.poll_gone(context).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }

    /// Ready when the client has closed. What it sends meanwhile is kept for later.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.reader.is_none() {
            self.reader = self.shelf.take_at_end();
        }
        let Some(reader) = &mut self.reader else { return Poll::Pending };
        while reader.buffer().is_empty() {
            match reader.poll_read(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Writes a response.
    async fn answer(&mut self, response: Response<Outgoing>, asked: Asked) -> io::Result<After> {
        let (parts, body) = response.into_parts();
        let mut body = pin!(body);
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(link) = body.as_mut().tunnel() else { return Ok(After::Drop) };
            response::switching(&mut self.out.buffer, &parts.headers);
            self.flush().await?;
            // The exchange is that of the request; what goes through the tunnel is counted there.
            let tunnel = tunnel::Tunnel::new(link, self.limits.tunnel, self.forward.counters.clone());
            return Ok(After::Tunnel(Box::new(tunnel)));
        }
        let says_close = parts
            .headers
            .get(CONNECTION)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        let mut is_kept = asked.is_kept && !says_close && !*self.stop.borrow();
        let has_none =
            asked.is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let framing = match body.size_hint().exact() {
            _ if has_none => response::Framing::None,
            Some(length) => response::Framing::Length(length),
            None if asked.is_http_11 => response::Framing::Chunked,
            None => response::Framing::ToEnd,
        };
        is_kept &= framing != response::Framing::ToEnd;
        response::head(&mut self.out.buffer, &parts, &framing, (asked.is_http_11, is_kept));
        let is_chunked = framing == response::Framing::Chunked;
        if !has_none && !self.body(body.as_mut(), is_chunked, asked.takes_trailers).await? {
            // To close would be to say that this was all.
            return Ok(if framing == response::Framing::ToEnd { After::Reset } else { After::Drop });
        }
        if let Err(error) = self.flush().await {
            body.cut_short();
            return Err(error);
        }
        if self.reader.is_none()
            && let Some((reader, is_read)) = self.shelf.take()
        {
            self.reader = Some(reader);
            is_kept &= is_read;
        }
        Ok(if is_kept && self.reader.is_some() { After::Next } else { After::Close })
    }

    /// Writes a body; false: it broke off, or the client has gone.
    async fn body(
        &mut self,
        mut body: Pin<&mut Outgoing>,
        is_chunked: bool,
        takes_trailers: bool,
    ) -> io::Result<bool> {
        loop {
            if body.is_end_stream() {
                break;
            }
            let frame = std::future::poll_fn(|context| {
                loop {
                    let is_full = self.out.is_full();
                    if !is_full && let Poll::Ready(frame) = body.as_mut().poll_frame(context) {
                        return Poll::Ready(Some(frame));
                    }
                    // What was there before goes out while nothing new is there.
                    if !self.out.is_empty() {
                        match self.poll_flush(context) {
                            Poll::Ready(Ok(())) if is_full => continue,
                            Poll::Ready(Ok(())) => {}
                            Poll::Ready(Err(_)) => return Poll::Ready(None),
                            Poll::Pending => return Poll::Pending,
                        }
                    }
                    return if self.poll_gone(context).is_ready() {
                        Poll::Ready(None)
                    } else {
                        Poll::Pending
                    };
                }
            });
            match frame.await {
                None => {
                    body.cut_short();
                    return Ok(false);
                }
                Some(None) => break,
                Some(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) if is_chunked => self.out.chunk(data),
                    Ok(data) => self.out.push(data),
                    Err(frame) if is_chunked => {
                        self.out.last_chunk(frame.trailers_ref().filter(|_| takes_trailers));
                        return Ok(true);
                    }
                    Err(_) => {}
                },
                Some(Some(Err(error))) => {
                    tracing::debug!(client = %self.client, %error, "a response is cut short");
                    // What came before the fault is the client's.
                    self.flush().await?;
                    return Ok(false);
                }
            }
        }
        if is_chunked {
            self.out.last_chunk(None);
        }
        Ok(true)
    }

    /// Writes what is to be written, as long as the client takes some of it now and then.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.out.left();
        let written = self.out.poll_write(&mut self.writer, context);
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let patience = self.writing.get_or_insert_with(|| Patience::new(self.limits.write));
        if self.out.left() < before {
            patience.renew();
        }
        ready!(patience.poll(context));
        self.forward.counters.slow(Slow::Response);
        let why = "the client does not read its response";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    /// Ends the connection so that the client has the response.
    async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.writer.shutdown().await?;
        let reader = self.reader.take().or_else(|| self.shelf.take().map(|(reader, _)| reader));
        let Some(mut reader) = reader else { return Ok(()) };
        let linger = async {
            let mut left = LINGER_BYTES;
            while left > 0 {
                left = left.saturating_sub(reader.buffer().len().max(1));
                reader.buffer().clear();
                match std::future::poll_fn(|context| reader.poll_read(context)).await {
                    Ok(true) => {}
                    Ok(false) | Err(_) => break,
                }
            }
        };
        // Over it is when it is over: the client had its time.
        let _ = tokio::time::timeout(LINGER, linger).await;
        Ok(())
    }

    /// Ends the connection so that nobody takes what came for all there is.
    fn reset(mut self) {
        let Some(reader) = self.reader.take().or_else(|| self.shelf.take().map(|(reader, _)| reader)) else {
            return;
        };
        if let Stream::Clear(stream) = reader.into_parts().0.unsplit(self.writer) {
            // What cannot be reset is closed.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// What of a request its response depends on.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Asked {
    is_head: bool,
    is_http_11: bool,
    is_kept: bool,
    takes_trailers: bool,
}
