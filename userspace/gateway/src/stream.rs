//! A connection, of a client or to an endpoint: clear text or TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As its bytes are.
    Clear(TcpStream),
    /// Ended here, or begun here.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

/// A connection of which the first bytes were read to see what it is.
#[derive(Debug)]
pub(crate) struct Rewound {
    first: Bytes,
    stream: Stream,
}

impl Rewound {
    pub(crate) const fn new(first: Bytes, stream: Stream) -> Self {
        Self { first, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let length = this.first.len().min(into.remaining());
        into.put_slice(&this.first[..length]);
        this.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Bytes on their way out: a buffer of small ones, a large piece that is not copied, and a line end.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) buffer: BytesMut,
    piece: Bytes,
    behind: &'static [u8],
    /// TLS may hold records that the socket had no room for.
    is_to_flush: bool,
}

/// Pieces up to this are copied behind what is there: one write is cheaper than several slices.
const COPIED: usize = 4 << 10;

impl Out {
    /// Takes a piece. There must be room: [`Out::is_full`].
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() <= COPIED {
            self.buffer.extend_from_slice(&piece);
        } else {
            self.piece = piece;
        }
    }

    /// Takes a piece as a chunk (RFC 9112, section 7.1). There must be room.
    pub(crate) fn chunk(&mut self, piece: Bytes) {
        let digits = format!("{:x}\r\n", piece.len());
        self.buffer.extend_from_slice(digits.as_bytes());
        let is_copied = piece.len() <= COPIED;
        self.push(piece);
        if is_copied {
            self.buffer.extend_from_slice(b"\r\n");
        } else {
            self.behind = b"\r\n";
        }
    }

    /// Ends a body in chunks. There must be room.
    pub(crate) fn last_chunk(&mut self, trailers: Option<&HeaderMap>) {
        self.buffer.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.buffer.extend_from_slice(part);
            }
        }
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// Whether all of it is out.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.piece.is_empty() && self.behind.is_empty() && !self.is_to_flush
    }

    /// How many bytes wait.
    pub(crate) fn left(&self) -> usize {
        self.buffer.len() + self.piece.len() + self.behind.len()
    }

    /// Whether nothing more may be given before it is out.
    pub(crate) fn is_full(&self) -> bool {
        !self.piece.is_empty() || !self.behind.is_empty() || self.buffer.len() > 4 * COPIED
    }

    /// Writes all of it.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let stream = Pin::new(&mut *stream);
            let written = match (self.buffer.is_empty(), self.piece.is_empty() && self.behind.is_empty()) {
                (true, true) => break,
                (false, true) => stream.poll_write(context, &self.buffer),
                _ => {
                    let slices =
                        [IoSlice::new(&self.buffer), IoSlice::new(&self.piece), IoSlice::new(self.behind)];
                    stream.poll_write_vectored(context, &slices)
                }
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.is_to_flush = true;
            let of_buffer = written.min(self.buffer.len());
            self.buffer.advance(of_buffer);
            let of_piece = (written - of_buffer).min(self.piece.len());
            self.piece.advance(of_piece);
            self.behind = &self.behind[written - of_buffer - of_piece..];
        }
        // What it was a part of is free for the next read.
        self.piece = Bytes::new();
        if self.is_to_flush {
            ready!(Pin::new(stream).poll_flush(context))?;
            self.is_to_flush = false;
        }
        Poll::Ready(Ok(()))
    }
}
