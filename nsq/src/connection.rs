//! One connection to one nsqd: bytes in, frames out; commands in, bytes out.
//!
//! It is owned by one task, which never waits for anything but [`Connection::drive`] and its own inbox.
//! Reading and writing make progress independently there, so a peer that stops reading cannot stop us
//! from reading its answers.

mod handshake;
#[cfg(any(test, fuzzing))]
pub(crate) mod unruly;

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::command::Command;
use crate::error::ConnectionError;
use crate::frame::{Bodies, Frame, FrameDecoder};
use crate::identify::ConnectionConfig;
use crate::transport::Transport;
use crate::write_queue::WriteQueue;

const HEARTBEAT: &[u8] = b"_heartbeat_";
const READ_CHUNK: usize = 64 * 1024;
const READ_MIN: usize = 4 * 1024;
/// Commands are taken on while less than this waits to be written; it keeps memory and the latency of
/// FIN bounded without costing throughput.
const WRITE_SOFT_LIMIT: usize = 256 * 1024;
const MAX_SLICES: usize = 64;

pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    /// There is a layer on the socket (encryption, compression). A write that it fails may have been sent in part.
    layered: bool,
    decoder: FrameDecoder,
    inbound: BytesMut,
    bodies: Bodies,
    outbound: WriteQueue,
    /// Bytes ever put into `outbound`, and ever taken by the transport.
    queued: u64,
    written: u64,
    needs_flush: bool,
    /// How heartbeats are answered; see [`Heartbeats`].
    heartbeats: Heartbeats,
    /// Set when writing failed. What nsqd sent before may still be waiting to be read, an error frame
    /// that tells why, so reading goes on until it ends.
    write_error: Option<ConnectionError>,
    /// `None` if nsqd sends no heartbeats.
    read_timeout: Option<Duration>,
    write_timeout: Duration,
    last_read: Instant,
    /// When `outbound` last shrank, or began to fill.
    last_write: Instant,
    watchdog: Pin<Box<Sleep>>,
}

/// What to do with a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heartbeats {
    /// Answered at once.
    Answered,
    /// Answered when the handshake is over: while a layer is put on top, nsqd would read the answer as
    /// part of the next one. Tells whether there is one to be answered.
    Deferred { heard: bool },
}

// === impl Connection ===

impl Connection {
    pub(crate) fn over(transport: Box<dyn Transport>, config: &ConnectionConfig) -> Self {
        let now = Instant::now();
        let read_timeout = config.read_timeout();
        Self {
            transport,
            layered: false,
            decoder: FrameDecoder::new(config.max_frame_size),
            inbound: BytesMut::new(),
            bodies: Bodies::default(),
            outbound: WriteQueue::default(),
            queued: 0,
            written: 0,
            needs_flush: false,
            heartbeats: Heartbeats::Answered,
            write_error: None,
            read_timeout,
            write_timeout: config.write_timeout,
            last_read: now,
            last_write: now,
            watchdog: Box::pin(sleep_until(now + read_timeout.unwrap_or(config.write_timeout))),
        }
    }

    /// Waits for the response to the one command that is outstanding.
    pub(crate) async fn response(&mut self) -> Result<bytes::Bytes, ConnectionError> {
        loop {
            match self.next_frame()? {
                Some(Frame::Response(data)) => return Ok(data),
                Some(Frame::Error(error)) => return Err(error.into()),
                Some(Frame::Message(_)) => return Err(ConnectionError::Protocol("a message before RDY")),
                None => self.drive().await?,
            }
        }
    }

    /// Queues a command; [`Connection::drive`] writes it.
    pub(crate) fn send(&mut self, command: Command) {
        if self.write_error.is_some() {
            // It ends behind all that was written, and so has certainly not reached nsqd.
            self.queued += 1;
            return;
        }
        let before = self.outbound.remaining();
        command.encode(&mut self.outbound);
        self.queued += (self.outbound.remaining() - before) as u64;
        if before == 0 {
            self.last_write = Instant::now();
            self.arm_watchdog();
        }
    }

    /// Whether more commands may be queued now.
    pub(crate) fn has_room(&self) -> bool {
        self.outbound.remaining() < WRITE_SOFT_LIMIT
    }

    /// Where the last command queued ends in the stream of all bytes sent.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// How much of the stream the transport has taken, or may have. A command that ends behind this has
    /// certainly not reached nsqd as a whole.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Whether everything queued has been taken by the transport.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.outbound.has_remaining() && !self.needs_flush
    }

    /// The next frame that has arrived in full. Heartbeats are answered here and not returned.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, ConnectionError> {
        while let Some(frame) = self.decoder.decode_with(&mut self.inbound, &mut self.bodies)? {
            match frame {
                Frame::Response(data) if data == HEARTBEAT => self.hear_heartbeat(),
                frame => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    fn hear_heartbeat(&mut self) {
        match &mut self.heartbeats {
            Heartbeats::Answered => self.send(Command::Nop),
            Heartbeats::Deferred { heard } => *heard = true,
        }
    }

    /// Writes what is queued and reads what has come; returns as soon as either made progress, so that the
    /// caller can look for frames and for room. Waits when there is nothing to do.
    ///
    /// Cancel safe: bytes are either in a buffer of this value or still in the operating system's.
    pub(crate) async fn drive(&mut self) -> Result<(), ConnectionError> {
        poll_fn(|cx| self.poll_drive(cx)).await
    }

    fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        let wrote = self.poll_write(cx).unwrap_or_else(|error| {
            self.outbound.clear();
            self.needs_flush = false;
            self.write_error = Some(error.into());
            false
        });
        if let Poll::Ready(read) = self.poll_read(cx) {
            return Poll::Ready(read);
        }
        if let Some(error) = self.write_error.clone() {
            return Poll::Ready(Err(error));
        }
        if wrote {
            return Poll::Ready(Ok(()));
        }
        self.poll_watchdog(cx)
    }

    /// Writes until nothing is left or the transport takes no more; tells whether there was progress.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut progress = false;
        while self.outbound.has_remaining() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let transport = Pin::new(&mut *self.transport);
            let (offered, write) = if transport.is_write_vectored() {
                let filled = self.outbound.chunks_vectored(&mut slices);
                let offered = slices[..filled].iter().map(|slice| slice.len()).sum();
                (offered, transport.poll_write_vectored(cx, &slices[..filled]))
            } else {
                let chunk = self.outbound.chunk();
                (chunk.len(), transport.poll_write(cx, chunk))
            };
            match write {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.outbound.advance(count);
                    self.written += count as u64;
                    self.last_write = Instant::now();
                    self.needs_flush = true;
                    progress = true;
                }
                Poll::Ready(Err(error)) => {
                    if self.layered {
                        self.written += offered as u64;
                    }
                    return Err(error);
                }
                Poll::Pending => return Ok(progress),
            }
        }
        if self.needs_flush {
            match Pin::new(&mut *self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.needs_flush = false;
                    self.last_write = Instant::now();
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        Ok(progress)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        // Memory grows with what has arrived, never with what a frame announced.
        if self.inbound.capacity() - self.inbound.len() < READ_MIN {
            self.inbound.reserve(READ_CHUNK);
        }
        let read = pin!(self.transport.read_buf(&mut self.inbound)).poll(cx);
        match ready!(read) {
            Ok(0) => Poll::Ready(Err(ConnectionError::Closed)),
            Ok(_) => {
                self.last_read = Instant::now();
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        while self.watchdog.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(limit) = self.read_timeout
                && now >= self.last_read + limit
            {
                return Poll::Ready(Err(ConnectionError::Silent(limit)));
            }
            if !self.is_flushed() && now >= self.last_write + self.write_timeout {
                return Poll::Ready(Err(ConnectionError::Stalled(self.write_timeout)));
            }
            self.arm_watchdog();
        }
        Poll::Pending
    }

    /// The watchdog is set to the earliest moment at which something can be wrong, and looks again then:
    /// progress does not touch the timer.
    fn arm_watchdog(&mut self) {
        let silent = self.read_timeout.map(|limit| self.last_read + limit);
        let stalled = (!self.is_flushed()).then(|| self.last_write + self.write_timeout);
        let next = silent.into_iter().chain(stalled).min();
        // With neither, nothing can be wrong before something is sent, which sets it again.
        let next = next.unwrap_or_else(|| Instant::now() + self.write_timeout);
        self.watchdog.as_mut().reset(next);
    }
}

#[cfg(test)]
mod tests;
