//! A stream that compresses what it writes and decompresses what it reads.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::Transport;

/// How much compressed data may wait to be written before no more is taken.
const PENDING_LIMIT: usize = 64 * 1024;
/// How much is compressed in one go: one block of snappy's.
const TAKEN_AT_ONCE: usize = 64 * 1024;
const READ_CHUNK: usize = 16 * 1024;

/// A format of compression, one direction independent of the other.
pub(super) trait Codec: Send + Unpin {
    /// Takes all of `plain`. What that becomes is appended to `out`, or held back to be compressed with
    /// what follows.
    fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()>;

    /// Appends to `out` what was held back, so that the other side can read all that was taken.
    fn finish_block(&mut self, out: &mut Vec<u8>) -> io::Result<()>;

    /// Takes as much off the front of `compressed` as is needed to fill `plain`, and tells how much of
    /// `plain` was filled. Nothing, if more input is needed.
    fn decompress(&mut self, compressed: &mut BytesMut, plain: &mut [u8]) -> io::Result<usize>;
}

/// Compression by `C` on top of another transport.
///
/// A flush ends a block, so whoever writes should flush once per batch and not once per command.
pub(super) struct Stream<C> {
    inner: Box<dyn Transport>,
    codec: C,
    /// Read, and not decompressed yet.
    inbound: BytesMut,
    /// Compressed; from `written` on, not taken by `inner` yet.
    outbound: Vec<u8>,
    written: usize,
    /// Something was taken since the last block was finished.
    unfinished: bool,
}

// === impl Stream ===

impl<C: Codec> Stream<C> {
    /// `first` is the beginning of what `inner` will read.
    pub(super) fn new(inner: Box<dyn Transport>, codec: C, first: BytesMut) -> Self {
        Self {
            inner,
            codec,
            inbound: first,
            outbound: Vec::new(),
            written: 0,
            unfinished: false,
        }
    }

    /// Hands all that is compressed to the inner transport.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outbound.len() {
            let rest = &self.outbound[self.written..];
            match ready!(Pin::new(&mut *self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.outbound.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<C: Codec> AsyncRead for Stream<C> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            let room = buffer.remaining().min(READ_CHUNK);
            let plain = buffer.initialize_unfilled_to(room);
            let count = this.codec.decompress(&mut this.inbound, plain)?;
            if count > 0 {
                buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            // A codec leaves at most one incomplete block in here, so this is bounded.
            this.inbound.reserve(READ_CHUNK);
            let read = pin!(this.inner.read_buf(&mut this.inbound)).poll(cx);
            if ready!(read)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<C: Codec> AsyncWrite for Stream<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbound.len() - this.written >= PENDING_LIMIT {
            ready!(this.poll_drain(cx))?;
        }
        let mut taken = 0;
        for slice in slices {
            let count = slice.len().min(TAKEN_AT_ONCE - taken);
            this.codec.compress(&slice[..count], &mut this.outbound)?;
            taken += count;
        }
        this.unfinished |= taken > 0;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unfinished {
            this.codec.finish_block(&mut this.outbound)?;
            this.unfinished = false;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut *this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut *self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
