//! The names of this crate's metrics; all but the producer's carry the label `topic`.

/// Counts messages that the back end acknowledged.
pub(crate) const PUBLISHED: &str = "safelight_queue_published_total";
/// Counts publishes, of any number of messages, that failed.
pub(crate) const PUBLISH_FAILURES: &str = "safelight_queue_publish_failures_total";
/// Counts messages handed to handlers.
pub(crate) const DELIVERED: &str = "safelight_queue_delivered_total";
/// Counts answers, by the label `answer`: `finished`, `requeued`, `dropped`.
pub(crate) const ANSWERED: &str = "safelight_queue_answered_total";
/// How many messages wait in nsqd, by `channel`; known where nsqd's HTTP side is, and `NaN` while
/// that is away.
pub(crate) const LAG: &str = "safelight_queue_lag_messages";
/// How many messages nsqd has delivered and waits for the answers to, by `channel`; known where its HTTP side is.
pub(crate) const IN_FLIGHT: &str = "safelight_queue_in_flight_messages";
/// How many messages nsqd keeps for later, by `channel`; known where its HTTP side is.
pub(crate) const DEFERRED: &str = "safelight_queue_deferred_messages";
/// Whether this process has asked for no more messages: 1 while paused, else 0.
pub(crate) const PAUSED: &str = "safelight_queue_paused";
/// How many nsqds this process receives from now.
pub(crate) const NSQD_CONNECTED: &str = "safelight_queue_nsqd_connected";
/// How many nsqds this process knows to receive from, configured or discovered.
pub(crate) const NSQD_KNOWN: &str = "safelight_queue_nsqd_known";
/// How many messages this process has received and not answered.
pub(crate) const UNANSWERED: &str = "safelight_queue_unanswered_messages";
/// Whether there is an nsqd to publish to: 1 or 0.
pub(crate) const PRODUCER_CONNECTED: &str = "safelight_queue_producer_connected";
