//! The wake-up queue: NSQ, or a table in the embedded database.
//!
//! Both back ends promise the same: what [`Queue::publish`] acknowledged is delivered *at least once*, a
//! [`Delivery`] that is not finished comes again, and a requeued one not before its delay has passed.
//! What is queued is a wake-up call and never the record: NSQ loses what it holds in memory when nsqd
//! dies hard, so the database keeps what must not be lost.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use safelight_queue::{CHANNEL, NsqConfig, Queue, TOPIC_IMAGES, decode_id, encode_id};
//! # async fn example() -> Result<(), safelight_queue::QueueError> {
//! let queue = Queue::nsq(NsqConfig { producer: Some("127.0.0.1:4150".into()), ..NsqConfig::default() })?;
//! queue.publish(TOPIC_IMAGES, &[encode_id(7)]).await?;
//!
//! let mut subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, 8)?;
//! while let Some(delivery) = subscription.next().await {
//!     println!("{:?}", decode_id(delivery.body()));
//!     delivery.finish().await?;
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod args;
mod backoff;
mod delivery;
mod embedded;
mod error;
mod gauges;
mod id;
mod metric_names;
mod nsq;
mod nsqd_side;
mod publishing;
mod queue;
mod relay;
mod subscription;

pub use args::{QueueArgs, QueueKind};
pub use delivery::Delivery;
pub use embedded::EmbeddedSettings;
pub use error::QueueError;
pub use id::{CHANNEL, TOPIC_IMAGES, decode_id, encode_id};
pub use nsq::NsqConfig;
pub use publishing::Publishing;
pub use queue::Queue;
pub use relay::{Publish, Relay, RelaySettings};
pub use subscription::{Subscription, SubscriptionControl};
