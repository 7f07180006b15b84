// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The socket below TLS: counts its bytes both ways, remembers when something was last heard and sent, hands rustls
//! large reads from one system call, and until the handshake is done lets only so many bytes in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes of one read from the socket. rustls asks for 4 KiB at a time, which alone would cost a system call each.
const READ_BYTES: usize = 64 << 10;
/// Bytes of one read during the handshake.
const HANDSHAKE_READ_BYTES: usize = 2 << 10;

/// What went over the socket, and when.
#[derive(Debug)]
pub(crate) struct Meter {
    since: Instant,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    sent_ms: AtomicU64,
    heard_ms: AtomicU64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_ms: AtomicU64::new(0),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the socket was made.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment of such a number.
    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.since + std::time::Duration::from_millis(ms)
    }

    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Relaxed)
    }

    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Relaxed)
    }

    pub(crate) fn sent_ms(&self) -> u64 {
        self.sent_ms.load(Relaxed)
    }

    pub(crate) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Relaxed)
    }

    /// As if something had been heard now: after a pause that was ours.
    pub(crate) fn touch(&self) {
        self.heard_ms.store(self.now_ms(), Relaxed);
    }

    fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Relaxed);
        self.touch();
    }

    fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Relaxed);
        self.sent_ms.store(self.now_ms(), Relaxed);
    }
}

/// More bytes came before the handshake's end than a handshake needs.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {} bytes before the handshake's end", crate::limits::HANDSHAKE_BYTES_MAX)]
pub(crate) struct TooManyBytes;

/// A socket with its meter.
#[derive(Debug)]
pub(crate) struct Metered<IO> {
    io: IO,
    meter: Arc<Meter>,
    /// Bytes that may still be read; `None` once the handshake is done.
    allowance: Option<usize>,
    /// The allowance was used up, and whoever reads was told once.
    spent: bool,
    /// Read from the socket and not yet taken: `buffer[at..end]`, `at <= end <= buffer.len()`.
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

impl<IO> Metered<IO> {
    /// Wraps a fresh socket; only `allowance` bytes can be read before [`Metered::established`].
    pub(crate) fn new(io: IO, meter: Arc<Meter>, allowance: usize) -> Self {
        Self { io, meter, allowance: Some(allowance), spent: false, buffer: Box::default(), at: 0, end: 0 }
    }

    /// The handshake is done: reads are unlimited and large from now on.
    pub(crate) fn established(&mut self) {
        self.allowance = None;
        self.buffer = vec![0; READ_BYTES].into_boxed_slice();
    }
}

impl<IO: AsyncRead + Unpin> Metered<IO> {
    fn poll_read_handshake(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        allowance: usize,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; HANDSHAKE_READ_BYTES];
        let wish = allowance.min(out.remaining()).min(HANDSHAKE_READ_BYTES);
        if wish == 0 {
            // The handshake's last flight may have come with records right behind it. Then rustls is content with what it
            // has, and "nothing more now" ends the handshake; asked again it is still waiting, and that is too much.
            if self.spent {
                return Poll::Ready(Err(io::Error::other(TooManyBytes)));
            }
            self.spent = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut part = ReadBuf::new(&mut bytes[..wish]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
        let filled = part.filled();
        self.meter.received(filled.len());
        self.allowance = Some(allowance - filled.len());
        out.put_slice(filled);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(allowance) = this.allowance {
            return this.poll_read_handshake(cx, out, allowance);
        }
        if this.at == this.end {
            let mut buffer = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut buffer))?;
            (this.at, this.end) = (0, buffer.filled().len());
            if this.end > 0 {
                this.meter.received(this.end);
            }
        }
        let taken = out.remaining().min(this.end - this.at);
        out.put_slice(&this.buffer[this.at..this.at + taken]);
        this.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Metered<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.io).poll_write(cx, bytes))?;
        this.meter.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let sent = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, parts))?;
        this.meter.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
