//! The names of this crate's metrics; all carry the label `topic`.

/// Counts messages that the back end acknowledged.
pub(crate) const PUBLISHED: &str = "safelight_queue_published_total";
/// Counts publishes, of any number of messages, that failed.
pub(crate) const PUBLISH_FAILURES: &str = "safelight_queue_publish_failures_total";
/// Counts messages handed to handlers.
pub(crate) const DELIVERED: &str = "safelight_queue_delivered_total";
/// Counts answers, by the label `answer`: `finished`, `requeued`, `dropped`.
pub(crate) const ANSWERED: &str = "safelight_queue_answered_total";
