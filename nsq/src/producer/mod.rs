//! Publishing: a cheap handle on a task that owns the connection.

mod ack;
mod batch;
mod config;
mod gather;
mod handle;
mod limits;
mod request;
mod rotation;
mod stats;
mod task;

pub use ack::PublishAck;
pub use batch::{BatchAck, PublishManyError};
pub use config::{NsqdAddress, ProducerConfig};
pub use handle::{Producer, ProducerState};
pub use stats::ProducerStats;
