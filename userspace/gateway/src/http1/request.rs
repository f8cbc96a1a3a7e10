//! The body of a request, read when somebody asks for it.

use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncReadExt as _, ReadHalf};

use crate::counters::{Counters, Slow};
use crate::patience::Patience;
use crate::stream::Stream;
use crate::upstream::make_room;
use crate::wire::{self, Part};

/// Room for heads and small bodies.
const SMALL: usize = 4 << 10;

/// Room for a piece of a large body.
const LARGE: usize = 64 << 10;

/// The reading half of a connection, with what was read and not used.
#[derive(Debug)]
pub(super) struct Reader {
    half: ReadHalf<Stream>,
    buffer: BytesMut,
}

impl Reader {
    pub(super) fn new(half: ReadHalf<Stream>, buffer: BytesMut) -> Self {
        Self { half, buffer }
    }

    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub(super) fn into_parts(self) -> (ReadHalf<Stream>, BytesMut) {
        (self.half, self.buffer)
    }

    /// Reads more; false is the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.poll_read_into(context, SMALL)
    }

    fn poll_read_into(&mut self, context: &mut Context<'_>, room: usize) -> Poll<io::Result<bool>> {
        make_room(&mut self.buffer, room);
        let count = ready!(pin!(self.half.read_buf(&mut self.buffer)).poll(context))?;
        Poll::Ready(Ok(count > 0))
    }
}

/// Where a body leaves what its connection needs again, and says what it needs.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The reader, and whether it is behind the end of the body.
    back: Mutex<Option<(Reader, bool)>>,
    is_continue_wanted: AtomicBool,
}

impl Shelf {
    fn back(&self) -> MutexGuard<'_, Option<(Reader, bool)>> {
        self.back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reader, and whether it is behind the end of the body.
    pub(super) fn take(&self) -> Option<(Reader, bool)> {
        self.back().take()
    }

    /// The reader, if it is behind the end of the body.
    pub(super) fn take_at_end(&self) -> Option<Reader> {
        self.back().take_if(|(_, is_at_end)| *is_at_end).map(|(reader, _)| reader)
    }

    /// Whether the client is to be told that its body is waited for; said once.
    pub(super) fn is_continue_wanted(&self) -> bool {
        self.is_continue_wanted.load(Relaxed) && self.is_continue_wanted.swap(false, Relaxed)
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None`: it is back on the shelf.
    reader: Option<Reader>,
    body: wire::Body,
    /// The client waits for `100 Continue`.
    is_expecting: bool,
    patience: Patience,
    shelf: Arc<Shelf>,
    counters: Arc<Counters>,
}

impl RequestBody {
    pub(super) fn new(
        (reader, body): (Reader, wire::Body),
        is_expecting: bool,
        shelf: Arc<Shelf>,
        counters: Arc<Counters>,
        patience: Duration,
    ) -> Self {
        let patience = Patience::new(patience);
        Self { reader: Some(reader), body, is_expecting, patience, shelf, counters }
    }

    fn put_back(&mut self) {
        if let Some(reader) = self.reader.take() {
            *self.shelf.back() = Some((reader, self.body.is_ended()));
        }
    }

    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Part>> {
        loop {
            let Some(reader) = &mut self.reader else { return Poll::Ready(Ok(Part::End)) };
            match self.body.next(&mut reader.buffer) {
                Ok(Some(part)) => return Poll::Ready(Ok(part)),
                Ok(None) => {}
                Err(fault) => {
                    self.counters.wire_fault(fault);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            }
            if std::mem::take(&mut self.is_expecting) {
                self.shelf.is_continue_wanted.store(true, Relaxed);
            }
            let room = self.body.left().map_or(LARGE, |left| usize::try_from(left).unwrap_or(LARGE));
            match reader.poll_read_into(context, room.clamp(SMALL, LARGE)) {
                Poll::Ready(Ok(true)) => self.patience.renew(),
                Poll::Ready(Ok(false)) => {
                    let why = "the client broke its body off";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(self.patience.poll(context));
                    self.counters.slow(Slow::Body);
                    let why = "the client sends nothing of its body";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
                }
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // What has come already need not be waited for.
        if let Some(reader) = &mut self.reader {
            while let Ok(Some(Part::Data(_) | Part::Trailers(_))) = self.body.next(&mut reader.buffer) {}
        }
        self.put_back();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let frame = match ready!(this.poll_part(context)) {
            Ok(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Part::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Part::End) => None,
            Err(error) => Some(Err(error)),
        };
        if this.body.is_ended() {
            this.put_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
