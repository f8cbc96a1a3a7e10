//! A connection whose bytes are scanned before they are read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Scanner, WireFault};
use crate::counters::Counters;

/// What the reader behind is given in place of a head that is refused: it answers 400 and closes,
/// after the answers to what came before.
const REFUSED: &[u8] = b"\0\r\n\r\n";

/// A connection that hands on what can be read in one way only.
#[derive(Debug)]
pub(crate) struct Strict<S> {
    stream: S,
    scanner: Scanner,
    counters: Arc<Counters>,
    /// Read and not handed on: most of the time nothing.
    held: BytesMut,
    /// How much of `held` may be handed on.
    free: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What is free is handed on, then this is told; true if it is in a body.
    Refused(WireFault, bool),
    /// A refusal was told: nothing follows.
    Ended,
}

impl<S> Strict<S> {
    pub(crate) fn new(stream: S, counters: Arc<Counters>) -> Self {
        Self { stream, scanner: Scanner::new(), counters, held: BytesMut::new(), free: 0, state: State::Open }
    }

    fn hand_on(&mut self, into: &mut ReadBuf<'_>) {
        let length = self.free.min(into.remaining());
        into.put_slice(&self.held[..length]);
        self.held.advance(length);
        self.free -= length;
    }

    /// Scans bytes; how many of them may be handed on.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        match self.scanner.feed(bytes) {
            Ok(used) => used,
            Err((used, fault)) => {
                self.counters.wire_fault(fault);
                self.state = State::Refused(fault, !self.scanner.is_in_head());
                used
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.free > 0 {
                this.hand_on(into);
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Ended => return Poll::Ready(Ok(())),
                State::Refused(fault, true) => {
                    this.state = State::Ended;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
                State::Refused(_, false) => {
                    this.state = State::Ended;
                    into.put_slice(&REFUSED[..REFUSED.len().min(into.remaining())]);
                    return Poll::Ready(Ok(()));
                }
                State::Open => {}
            }
            // Into the reader's own buffer: what may be handed on whole, which is nearly all, is there.
            let before = into.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
            let fresh = into.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                // The end; what is held is a head that did not end, and nobody waits for it.
                this.state = State::Ended;
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                let used = this.scan(fresh);
                if this.state == State::Open {
                    this.held.extend_from_slice(&fresh[used..]);
                }
                into.set_filled(before + used);
                if used > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                this.held.extend_from_slice(fresh);
                into.set_filled(before);
                let held = std::mem::take(&mut this.held);
                this.free = this.scan(&held);
                this.held = held;
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
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
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
