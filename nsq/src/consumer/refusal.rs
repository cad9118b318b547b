//! Answers that did not count.

use super::message::MessageId;
use crate::error::ErrorCode;

/// An answer or touch that did not count, because the message was no longer this connection's: its deadline
/// had passed. Somebody has it again, or will.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedAnswer {
    /// `host:port` or `unix:/path` of the nsqd that holds the message.
    pub nsqd: String,
    /// The message.
    pub id: MessageId,
    /// [`ErrorCode::FinFailed`], [`ErrorCode::ReqFailed`] or [`ErrorCode::TouchFailed`].
    pub code: ErrorCode,
    /// Who refused it.
    pub by: RefusedBy,
}

/// Who refused an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusedBy {
    /// nsqd said so.
    Nsqd,
    /// It was not sent: the same connection has been given the message again, and nsqd, which tells
    /// deliveries apart by connection only, would have taken it for an answer to the newer one.
    Client,
}
