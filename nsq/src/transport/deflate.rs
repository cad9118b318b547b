//! Deflate without a header (RFC 1951), as nsqd speaks it.

use std::io;

use bytes::{Buf, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::compressed::Codec;

/// Room for output is made in steps of this.
const OUTPUT_STEP: usize = 16 * 1024;
/// With less room than this, ending a block may need a second call, which would end another one.
const BLOCK_END: usize = 16;

pub(super) struct Deflate {
    compress: Compress,
    decompress: Decompress,
}

// === impl Deflate ===

impl Deflate {
    /// `level` is from 1 to 9.
    pub(super) fn new(level: u8) -> Self {
        Self {
            compress: Compress::new(Compression::new(u32::from(level)), false),
            decompress: Decompress::new(false),
        }
    }
}

impl Codec for Deflate {
    fn compress(&mut self, mut plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !plain.is_empty() {
            out.reserve(OUTPUT_STEP);
            let before = self.compress.total_in();
            self.compress
                .compress_vec(plain, out, FlushCompress::None)
                .map_err(invalid)?;
            // No more than the length of `plain`.
            plain = &plain[(self.compress.total_in() - before) as usize..];
        }
        Ok(())
    }

    fn finish_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            out.reserve(OUTPUT_STEP);
            self.compress
                .compress_vec(&[], out, FlushCompress::Sync)
                .map_err(invalid)?;
            if out.capacity() - out.len() >= BLOCK_END {
                return Ok(());
            }
        }
    }

    fn decompress(&mut self, compressed: &mut BytesMut, plain: &mut [u8]) -> io::Result<usize> {
        let (read, written) = (self.decompress.total_in(), self.decompress.total_out());
        let status = self
            .decompress
            .decompress(compressed, plain, FlushDecompress::None)
            .map_err(invalid)?;
        // Neither is more than what was passed in.
        compressed.advance((self.decompress.total_in() - read) as usize);
        let count = (self.decompress.total_out() - written) as usize;
        if count == 0 && status == Status::StreamEnd {
            return Err(invalid("the stream has ended"));
        }
        Ok(count)
    }
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not deflate: {error}"))
}
