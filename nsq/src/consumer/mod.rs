//! Consuming: messages from many nsqds, as a stream or by a handler.

mod config;
mod control;
mod coordinator;
mod discovery;
mod flow;
mod handler;
mod inbox;
mod link;
mod message;
mod rdy;
mod refusal;
mod runner;
mod session;
mod state;
mod stats;
mod stream;
mod throttle;

pub use config::ConsumerConfig;
pub use control::ConsumerControl;
pub use handler::{DeadLetters, Failure, RunConfig};
pub use message::{AnswerError, Message, MessageId};
pub use refusal::{RefusedAnswer, RefusedBy};
pub use state::{ConsumerState, Drained, NsqdState};
pub use stats::ConsumerStats;
pub use stream::Consumer;
pub use throttle::{BackoffPolicy, BackoffState};
