//! A message for a mock to deliver.

use bytes::{BufMut, Bytes, BytesMut};

use crate::consumer::MessageId;

/// A message for [`MockNsqd::publish`](super::MockNsqd::publish). A body alone converts into one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MockMessage {
    /// What it carries.
    pub body: Bytes,
    /// Its id; `None` for one of the mock's choice.
    pub id: Option<MessageId>,
    /// How often it was delivered before. Default 0.
    pub attempts_before: u16,
    /// When it was stored: nanoseconds since the Unix epoch. Default 2023-11-14, so that tests repeat.
    pub timestamp: i64,
}

// === impl MockMessage ===

impl MockMessage {
    /// A message that was never delivered before.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            id: None,
            attempts_before: 0,
            timestamp: 1_700_000_000_000_000_000,
        }
    }

    /// With this id.
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = Some(id);
        self
    }

    /// Delivered so often before.
    pub fn with_attempts_before(mut self, attempts: u16) -> Self {
        self.attempts_before = attempts;
        self
    }

    /// The data of its frame, as the delivery that follows those before.
    pub(super) fn encode(&self, id: MessageId) -> Bytes {
        let mut data = BytesMut::with_capacity(26 + self.body.len());
        data.put_i64(self.timestamp);
        data.put_u16(self.attempts_before.saturating_add(1));
        data.put_slice(id.as_bytes());
        data.put_slice(&self.body);
        data.freeze()
    }
}

impl<B: Into<Bytes>> From<B> for MockMessage {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}
