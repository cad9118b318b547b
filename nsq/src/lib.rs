//! An async client for [NSQ](https://nsq.io), a realtime distributed message queue.
//!
//! - A [`Producer`] is a cheap handle on one connection to one of several nsqds. [`Producer::publish`]
//!   resolves with nsqd's acknowledgement of that very message, or with an error that says whether the
//!   message was certainly not stored, refused, or perhaps stored.
//! - A [`Consumer`] is a stream of owned [`Message`]s from any number of nsqds, given by address or found
//!   through nsqlookupd. It never has more than `max_in_flight` messages unanswered, answers heartbeats
//!   whatever its reader does, and reconnects by itself.
//! - [`NsqdHttp`] and [`LookupdHttp`] ask the servers' HTTP sides: topics and channels, statistics, health.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use async_nsq::{Channel, Consumer, ConsumerConfig, Producer, ProducerConfig, Topic};
//!
//! let topic = Topic::new("orders")?;
//! let producer = Producer::start(ProducerConfig::new("127.0.0.1:4150"))?;
//! producer.publish(&topic, "order 1").await?;
//!
//! let mut config = ConsumerConfig::new(topic, Channel::new("billing")?);
//! config.lookupd = vec!["127.0.0.1:4161".into()];
//! let mut consumer = Consumer::start(config)?;
//! while let Some(message) = consumer.next().await {
//!     println!("{:?}", message.body());
//!     message.finish()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! nsqd delivers at least once: a message may come again after a lost connection or a passed deadline,
//! and what nsqd holds in memory is gone when nsqd dies hard. Both ends have to be written for that.

#![forbid(unsafe_code)]

mod backoff;
mod clock;
mod command;
mod connection;
mod consumer;
mod dialer;
mod error;
mod frame;
mod http;
mod identify;
mod name;
mod producer;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transport;
mod write_queue;

pub use backoff::Backoff;
pub use consumer::{
    AnswerError, BackoffPolicy, BackoffState, Consumer, ConsumerConfig, ConsumerControl, ConsumerState,
    ConsumerStats, DeadLetters, Drained, Failure, Message, MessageId, NsqdState, RefusedAnswer, RefusedBy,
    RunConfig,
};
pub use dialer::Dialer;
pub use error::{
    ConfigError, ConnectionError, ErrorCode, FailedAnswer, InvalidMessage, NotSent, PublishError,
    ServerError, TlsError,
};
pub use frame::{Frame, FrameDecoder, FrameError, RawMessage};
pub use http::{
    ChannelStats, ClientStats, HttpConfig, HttpError, Lookup, LookupdHttp, Node, NsqdHttp, NsqdInfo,
    NsqdLimits, NsqdStats, StatsQuery, TopicStats,
};
pub use identify::{AuthSecret, Authorization, Compressed, Compression, ConnectionConfig, Negotiated};
pub use name::{Channel, InvalidName, Topic};
pub use producer::{
    BatchAck, NsqdAddress, Producer, ProducerConfig, ProducerState, ProducerStats, PublishAck,
    PublishManyError,
};
#[cfg(feature = "tls")]
pub use transport::{TlsConfig, TlsConfigBuilder, TlsConfigError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Lives through one connection to a peer that does what these bytes say; for the fuzz target.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_connection(script: &[u8]) {
    connection::unruly::live_through(script);
}
