//! Any bytes give frames or a typed error, the same ones however the bytes were cut on their way.
#![no_main]

use async_nsq::{Frame, FrameDecoder, FrameError};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 64 * 1024;

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    let whole = decode_all(bytes, bytes.len().max(1));
    let cut = decode_all(bytes, usize::from(step).max(1));
    assert_eq!(whole, cut);
});

/// Decodes bytes that come `step` at a time, to the end or to the first error.
fn decode_all(bytes: &[u8], step: usize) -> (Vec<Frame>, Option<FrameError>) {
    let decoder = FrameDecoder::new(LIMIT);
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => {
                    assert!(buffer.len() < before, "a frame takes bytes");
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
