//! One specification, and every back end.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod arguments;
mod backend;
mod nsqd_side;
mod outage;
mod specification;

/// Runs each part of the specification on each back end.
macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod nsq {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    safelight_testkit::require_nsq!();
                    crate::specification::$name(crate::backend::Backend::nsq().await).await;
                }
            )*
        }

        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    crate::specification::$name(crate::backend::Backend::embedded().await).await;
                }
            )*
        }
    };
}

conformance! {
    what_is_published_is_delivered_and_once_finished_does_not_come_again,
    a_batch_of_a_thousand_is_delivered_whole,
    what_was_published_before_the_subscription_is_delivered,
    a_requeued_delivery_comes_again_after_its_delay_and_counts_its_attempts,
    a_delivery_dropped_unanswered_comes_again_at_once,
    a_delivery_that_is_held_too_long_comes_again,
    a_touched_delivery_does_not_come_again,
    no_more_are_unanswered_than_max_in_flight,
    two_subscriptions_of_a_channel_share_its_messages,
    topics_do_not_mix,
    a_pause_stops_the_flow_and_resuming_continues_it,
    fewer_are_unanswered_while_fewer_are_allowed,
    closing_gives_back_what_was_not_begun_and_waits_for_what_was,
    closing_ends_at_its_limit,
    a_dropped_subscription_gives_back_what_was_not_begun,
    a_next_that_is_dropped_loses_nothing,
    bad_names_empty_messages_and_limits_are_refused,
    publishing_nothing_does_nothing,
    many_publishers_and_handlers_deliver_everything,
}
