//! Memory for what frames carry.
//!
//! The buffer that is read into belongs to the connection and is used again and again, so nothing that
//! outlives the next read may lie in it.

use bytes::{Buf, Bytes, BytesMut};

/// Bodies shorter than this share chunks; longer ones have memory of exactly their length.
pub(super) const SHARED_BELOW: usize = 1024;
/// What one body can keep alive of others'. A chunk holds so many small ones that an allocation for each is
/// spared, and so few that a thousand messages that are answered late keep 4 MiB at most.
const CHUNK: usize = 4096;

/// Copies bodies out of the read buffer.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    chunk: BytesMut,
}

// === impl Bodies ===

impl Bodies {
    /// Takes the first bytes off the buffer, which has as many.
    pub(super) fn take(&mut self, buffer: &mut BytesMut, len: usize) -> Bytes {
        let body = match &buffer[..len] {
            // Nearly all that a producer is answered.
            b"OK" => Bytes::from_static(b"OK"),
            body if len >= SHARED_BELOW => Bytes::copy_from_slice(body),
            body => self.share(body),
        };
        buffer.advance(len);
        body
    }

    fn share(&mut self, body: &[u8]) -> Bytes {
        if self.chunk.capacity() < body.len() {
            // Takes the chunk back where nobody holds any of it any more.
            self.chunk.reserve(CHUNK);
        }
        self.chunk.extend_from_slice(body);
        self.chunk.split().freeze()
    }
}
