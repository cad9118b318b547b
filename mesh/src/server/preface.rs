//! The first bytes of a connection, read before anything is built for it.
//!
//! HTTP/2's preface and the client's first SETTINGS frame (RFC 9113, section 3.4) are awaited here, where their
//! time can be limited: once they are in, keep-alive pings find out who stopped talking.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Every client of HTTP/2 begins with it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header: three bytes of length, one of type, one of flags, four of stream.
const FRAME_HEADER: usize = 9;

/// The type of a SETTINGS frame.
const SETTINGS: u8 = 4;

/// The longest payload that a client may send unasked.
const LONGEST_PAYLOAD: usize = 16 << 10;

/// A connection whose first bytes were read, and are read again.
#[derive(Debug)]
pub(super) struct Opened<S> {
    first: Bytes,
    stream: S,
}

/// Awaits the preface and the first SETTINGS frame.
///
/// # Errors
/// `InvalidData` for anything else, as soon as it is seen; `UnexpectedEof` where the client hangs up.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Opened<S>> {
    let mut first = BytesMut::with_capacity(512);
    while !is_whole(&first)? {
        if stream.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let first = first.freeze();
    Ok(Opened { first, stream })
}

fn is_whole(first: &[u8]) -> io::Result<bool> {
    let not_http2 = |why| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    let so_far = first.len().min(PREFACE.len());
    if first[..so_far] != PREFACE[..so_far] {
        return not_http2("the client does not speak HTTP/2");
    }
    let Some(&[high, middle, low, frame, ..]) = first.get(PREFACE.len()..) else {
        return Ok(false);
    };
    let payload = u32::from_be_bytes([0, high, middle, low]) as usize;
    if frame != SETTINGS || payload > LONGEST_PAYLOAD {
        return not_http2("the client does not begin with its settings");
    }
    Ok(first.len() >= PREFACE.len() + FRAME_HEADER + payload)
}

// === impl Opened ===

impl<S: AsyncRead + Unpin> AsyncRead for Opened<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let length = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Opened<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tokio_test::io::Builder;

    use super::*;

    const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];

    fn opening() -> Vec<u8> {
        [PREFACE, EMPTY_SETTINGS].concat()
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_and_then_the_rest() {
        let mut first = opening();
        first.extend_from_slice(b"more");
        let stream = Builder::new().read(&first).read(b" and more").build();
        let mut opened = read(stream).await.unwrap();
        let mut all = Vec::new();
        opened.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [first.as_slice(), b" and more"].concat());
    }

    #[tokio::test]
    async fn it_may_come_byte_by_byte() {
        let mut stream = Builder::new();
        for byte in opening() {
            stream.read(&[byte]);
        }
        assert!(read(stream.build()).await.is_ok());
    }

    #[tokio::test]
    async fn settings_are_awaited_whole() {
        let mut first = opening();
        first[PREFACE.len() + 2] = 6;
        let stream = Builder::new().read(&first).read(&[0, 3, 0, 0, 0]).build();
        let error = read(stream).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn who_does_not_speak_http2_is_found_out_at_the_first_wrong_byte() {
        let mut not_settings = opening();
        not_settings[PREFACE.len() + 3] = 1;
        let mut too_long = opening();
        too_long[PREFACE.len()] = 1;
        for first in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PRX".to_vec(),
            not_settings,
            too_long,
        ] {
            let stream = Builder::new().read(&first).build();
            let error = read(stream).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{first:?}");
        }
    }
}
