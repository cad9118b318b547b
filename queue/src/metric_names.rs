//! The names of this crate's metrics; all carry the label `topic`.

/// Counts messages that the back end acknowledged.
pub(crate) const PUBLISHED: &str = "safelight_queue_published_total";
/// Counts publishes, of any number of messages, that failed.
pub(crate) const PUBLISH_FAILURES: &str = "safelight_queue_publish_failures_total";
/// Counts messages handed to handlers.
pub(crate) const DELIVERED: &str = "safelight_queue_delivered_total";
/// Counts answers, by the label `answer`: `finished`, `requeued`, `dropped`.
pub(crate) const ANSWERED: &str = "safelight_queue_answered_total";
/// How many messages wait in nsqd, by `channel`; known where nsqd's HTTP side is.
pub(crate) const LAG: &str = "safelight_queue_lag_messages";
/// How many messages nsqd has delivered and waits for the answers to, by `channel`; known where its HTTP side is.
pub(crate) const IN_FLIGHT: &str = "safelight_queue_in_flight_messages";
/// How many messages nsqd keeps for later, by `channel`; known where its HTTP side is.
pub(crate) const DEFERRED: &str = "safelight_queue_deferred_messages";
