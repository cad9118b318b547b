//! What nsqd sends: frames, and the decoder that cuts them out of a byte stream.
//!
//! A frame is a 4-byte length, a 4-byte type (the length counts it), and data; all numbers are
//! big-endian. A message's data is an 8-byte time stamp, 2 bytes of attempts, 16 of id, and the body.

mod body;

use bytes::{Buf, Bytes, BytesMut};

pub(crate) use body::Bodies;

use crate::consumer::MessageId;
use crate::error::ServerError;

const LENGTH_LEN: usize = 4;
const TYPE_LEN: usize = 4;
const MESSAGE_HEADER_LEN: usize = 8 + 2 + MessageId::LEN;

const TYPE_RESPONSE: i32 = 0;
const TYPE_ERROR: i32 = 1;
const TYPE_MESSAGE: i32 = 2;

/// One frame from nsqd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The answer to a command, or a heartbeat.
    Response(Bytes),
    /// A command was refused.
    Error(ServerError),
    /// A message of the channel subscribed to.
    Message(RawMessage),
}

/// A message as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// When nsqd stored it: nanoseconds since the Unix epoch, by nsqd's clock.
    pub timestamp: i64,
    /// How often it was delivered, this time included.
    pub attempts: u16,
    /// Its name on the nsqd that holds it.
    pub id: MessageId,
    /// What was published.
    pub body: Bytes,
}

/// Bytes that cannot be a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Negative, or too small to hold the frame's type.
    #[error("a frame of {0} bytes")]
    BadLength(i32),
    /// More than this side is willing to hold.
    #[error("a frame of {length} bytes, over the limit of {limit}")]
    TooLarge {
        /// The length announced.
        length: usize,
        /// The limit configured.
        limit: usize,
    },
    /// Neither response, nor error, nor message.
    #[error("a frame of unknown type {0}")]
    UnknownType(i32),
    /// A message frame shorter than a message's header.
    #[error("a message frame of {0} bytes, shorter than its header")]
    ShortMessage(usize),
}

/// Cuts frames out of a growing buffer. It holds nothing but the limit, so that the same bytes always
/// give the same frames, however they were split on their way.
///
/// ```
/// use async_nsq::{Frame, FrameDecoder};
/// use bytes::BytesMut;
///
/// # fn main() -> Result<(), async_nsq::FrameError> {
/// let mut buffer = BytesMut::from(&b"\0\0\0\x06\0\0\0\0OK and the next"[..]);
/// let frame = FrameDecoder::new(1024).decode(&mut buffer)?;
/// assert_eq!(frame, Some(Frame::Response("OK".into())));
/// assert_eq!(&buffer[..], b" and the next");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FrameDecoder {
    max_frame_size: usize,
}

// === impl FrameDecoder ===

impl FrameDecoder {
    /// A decoder that refuses frames of more than `max_frame_size` bytes (type and data).
    pub fn new(max_frame_size: usize) -> Self {
        Self { max_frame_size }
    }

    /// Takes the first frame off the buffer, or `None` while it is not all there.
    ///
    /// # Errors
    /// [`FrameError`] as soon as the length (or the type) shows that this is no frame of nsqd's; the
    /// stream cannot be read any further then. Nothing is allocated for a length that is refused.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        self.decode_with(buffer, &mut Bodies::default())
    }

    /// The same, where frame after frame is decoded: memory for small ones is taken for many at a time.
    pub(crate) fn decode_with(
        &self,
        buffer: &mut BytesMut,
        bodies: &mut Bodies,
    ) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.announced_length(buffer)? else {
            return Ok(None);
        };
        let Some(mut header) = buffer.get(LENGTH_LEN..LENGTH_LEN + TYPE_LEN) else {
            return Ok(None);
        };
        let frame_type = header.get_i32();
        let data_len = length - TYPE_LEN;
        match frame_type {
            TYPE_RESPONSE | TYPE_ERROR => {}
            TYPE_MESSAGE if data_len >= MESSAGE_HEADER_LEN => {}
            TYPE_MESSAGE => return Err(FrameError::ShortMessage(data_len)),
            unknown => return Err(FrameError::UnknownType(unknown)),
        }
        if buffer.len() < LENGTH_LEN + length {
            return Ok(None);
        }

        buffer.advance(LENGTH_LEN + TYPE_LEN);
        let frame = match frame_type {
            TYPE_RESPONSE => Frame::Response(bodies.take(buffer, data_len)),
            TYPE_ERROR => Frame::Error(ServerError::parse(&bodies.take(buffer, data_len))),
            _ => Frame::Message(take_message(buffer, data_len, bodies)),
        };
        Ok(Some(frame))
    }

    fn announced_length(&self, buffer: &BytesMut) -> Result<Option<usize>, FrameError> {
        let Some(mut prefix) = buffer.get(..LENGTH_LEN) else {
            return Ok(None);
        };
        let announced = prefix.get_i32();
        let length = usize::try_from(announced).map_err(|_| FrameError::BadLength(announced))?;
        if length < TYPE_LEN {
            return Err(FrameError::BadLength(announced));
        }
        if length > self.max_frame_size {
            return Err(FrameError::TooLarge {
                length,
                limit: self.max_frame_size,
            });
        }
        Ok(Some(length))
    }
}

/// The caller has checked that `len` bytes are there and that they hold a header.
fn take_message(buffer: &mut BytesMut, len: usize, bodies: &mut Bodies) -> RawMessage {
    let timestamp = buffer.get_i64();
    let attempts = buffer.get_u16();
    let mut id = [0; MessageId::LEN];
    buffer.copy_to_slice(&mut id);
    let body = bodies.take(buffer, len - MESSAGE_HEADER_LEN);
    RawMessage {
        timestamp,
        attempts,
        id: MessageId::from_bytes(id),
        body,
    }
}

#[cfg(test)]
mod tests;
