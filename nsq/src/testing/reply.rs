//! What a mock is told to send.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::mock_message::MockMessage;
use crate::consumer::MessageId;

const RESPONSE: i32 = 0;
const ERROR: i32 = 1;
const MESSAGE: i32 = 2;

/// Something for a mock to send to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// A response frame with this data.
    Response(Bytes),
    /// An error frame with this text: a code, a space, a detail. Of itself it closes nothing; see
    /// [`Reply::fatal`].
    Error(String),
    /// A message frame, whatever RDY says. The mock does not count it as in flight, and takes no answer to
    /// it: script that too.
    Message(MockMessage),
    /// These bytes as they are, to be no frame at all.
    Raw(Bytes),
    /// Nothing.
    Silence,
    /// The end of the connection, behind what was sent before.
    Disconnect,
    /// The same after a while, without holding up what comes behind.
    Later(Duration, Box<Reply>),
    /// One after the other.
    Several(Vec<Reply>),
}

// === impl Reply ===

impl Reply {
    /// `OK`.
    pub fn ok() -> Self {
        Self::response("OK")
    }

    /// A response frame.
    pub fn response(data: impl Into<Bytes>) -> Self {
        Self::Response(data.into())
    }

    /// A heartbeat.
    pub fn heartbeat() -> Self {
        Self::response("_heartbeat_")
    }

    /// An error frame.
    pub fn error(text: impl Into<String>) -> Self {
        Self::Error(text.into())
    }

    /// An error frame and the end of the connection, as nsqd does with most of its codes.
    pub fn fatal(text: impl Into<String>) -> Self {
        Self::Several(vec![Self::error(text), Self::Disconnect])
    }

    /// The same after a while.
    pub fn after(self, delay: Duration) -> Self {
        Self::Later(delay, Box::new(self))
    }

    /// The bytes of what can be sent at once.
    pub(super) fn encode(&self) -> Option<Bytes> {
        match self {
            Reply::Response(data) => Some(frame(RESPONSE, data)),
            Reply::Error(text) => Some(frame(ERROR, text.as_bytes())),
            Reply::Message(message) => {
                let id = message.id.unwrap_or(MessageId::from_bytes(*b"scripted-message"));
                Some(message_frame(message, id))
            }
            Reply::Raw(bytes) => Some(bytes.clone()),
            Reply::Silence | Reply::Disconnect | Reply::Later(..) | Reply::Several(_) => None,
        }
    }
}

pub(super) fn message_frame(message: &MockMessage, id: MessageId) -> Bytes {
    frame(MESSAGE, &message.encode(id))
}

fn frame(frame_type: i32, data: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + data.len());
    // A test's frames are far below what the length can say.
    bytes.put_i32(i32::try_from(data.len() + 4).unwrap_or(i32::MAX));
    bytes.put_i32(frame_type);
    bytes.put_slice(data);
    bytes.freeze()
}
