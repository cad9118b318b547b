//! Snappy in its framing format, as nsqd speaks it.
//!
//! <https://github.com/google/snappy/blob/main/framing_format.txt>: a chunk is a type of one byte, a
//! length of three (little-endian), and so many bytes.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};
use snap::read::FrameDecoder;
use snap::write::FrameEncoder;

use super::compressed::Codec;

const CHUNK_HEADER_LEN: usize = 4;
/// A chunk holds at most 64 KiB of data, which compression makes longer by a sixth at worst, and a
/// checksum. Nobody needs a longer one, so none is waited for.
const MAX_CHUNK_LEN: usize = 4 + 32 + 65_536 + 65_536 / 6;

pub(super) struct Snappy {
    encoder: FrameEncoder<Vec<u8>>,
    decoder: FrameDecoder<WholeChunks>,
}

/// What the decoder may read: nothing of a chunk that has not arrived in full, as it could not go on
/// where it stopped.
#[derive(Default)]
struct WholeChunks(BytesMut);

// === impl Snappy ===

impl Snappy {
    pub(super) fn new() -> Self {
        Self {
            encoder: FrameEncoder::new(Vec::new()),
            decoder: FrameDecoder::new(WholeChunks::default()),
        }
    }
}

impl Codec for Snappy {
    fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.encoder.write_all(plain)?;
        out.append(self.encoder.get_mut());
        Ok(())
    }

    fn finish_block(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.encoder.flush()?;
        out.append(self.encoder.get_mut());
        Ok(())
    }

    fn decompress(&mut self, compressed: &mut BytesMut, plain: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.decoder.read(plain).map_err(invalid)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(len) = first_chunk_len(compressed)? else {
                return Ok(0);
            };
            self.decoder.get_mut().0 = compressed.split_to(len);
        }
    }
}

/// The length of the first chunk with its header, once it is all there.
fn first_chunk_len(compressed: &[u8]) -> io::Result<Option<usize>> {
    let Some(&[_, a, b, c]) = compressed.first_chunk::<CHUNK_HEADER_LEN>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes([a, b, c, 0]) as usize;
    if len > MAX_CHUNK_LEN {
        return Err(invalid(format!("a chunk of {len} bytes")));
    }
    let whole = CHUNK_HEADER_LEN + len;
    Ok((compressed.len() >= whole).then_some(whole))
}

fn invalid(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not snappy: {error}"))
}

// === impl WholeChunks ===

impl Read for WholeChunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.0.len());
        self.0.split_to(count).copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
