//! The state of the connections to NSQ, as metrics.

use std::time::Duration;

use async_nsq::{ConsumerControl, ProducerState};
use metrics::gauge;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::metric_names;

/// What changes with every message is looked at so often.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(1);

/// Tells of a consumer until it is closed.
pub(crate) async fn consumer(control: ConsumerControl, topic: String) {
    let mut state = control.watch_state();
    let mut ticks = interval(LOOKED_AT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (known, connected, closed) = {
            let now = state.borrow_and_update();
            (now.known, now.connected, now.closed)
        };
        gauge!(metric_names::NSQD_KNOWN, "topic" => topic.clone()).set(known as f64);
        gauge!(metric_names::NSQD_CONNECTED, "topic" => topic.clone()).set(connected as f64);
        gauge!(metric_names::UNANSWERED, "topic" => topic.clone()).set(control.in_flight() as f64);
        if closed {
            return;
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {}
        }
    }
}

/// Tells of a producer until it is closed.
pub(crate) async fn producer(mut state: watch::Receiver<ProducerState>) {
    loop {
        let connected = matches!(*state.borrow_and_update(), ProducerState::Connected);
        gauge!(metric_names::PRODUCER_CONNECTED).set(f64::from(u8::from(connected)));
        if state.changed().await.is_err() {
            return;
        }
    }
}
