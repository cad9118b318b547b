//! A mock nsqd for tests of code that uses this crate. Feature `testing`.
//!
//! A [`MockNsqd`] behaves as an nsqd with one topic and one channel would: it answers commands, delivers
//! what is [published](MockNsqd::publish) as RDY allows, takes FIN, REQ and TOUCH, and gives up messages
//! whose timeout has passed. It records every command in the order of arrival, and a test scripts what it
//! is to do otherwise: answer [once](MockNsqd::answer_next) or [always](MockNsqd::answer_always) with a
//! [`Reply`], send [at any time](MockNsqd::send), close connections, refuse them.
//!
//! In a [`MockNetwork`] everything goes through memory, so that tests run under tokio's paused time: a
//! backoff of minutes takes no time, and the order of events is always the same. [`MockNsqd::listen`] is
//! for code that insists on TCP.
//!
//! ```
//! use std::time::Duration;
//!
//! use async_nsq::testing::{MockNetwork, Reply, Verb};
//! use async_nsq::{Channel, Consumer, ConsumerConfig, Topic};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! let network = MockNetwork::new();
//! let mut nsqd = network.nsqd("mock:4150");
//!
//! let mut config = ConsumerConfig::new(Topic::new("orders")?, Channel::new("billing")?);
//! config.nsqd = vec!["mock:4150".into()];
//! config.max_in_flight = 5;
//! config.connection.dialer = Some(network.dialer());
//! let mut consumer = Consumer::start(config)?;
//!
//! let id = nsqd.publish("order 1");
//! let message = consumer.next().await.ok_or("closed")?;
//! assert_eq!((message.id(), message.body().as_ref()), (id, b"order 1".as_slice()));
//! message.requeue(Duration::from_secs(60))?;
//!
//! nsqd.next_of(Verb::Identify).await;
//! assert_eq!(nsqd.next_command().await.to_string(), "SUB orders billing");
//! assert_eq!(nsqd.next_command().await.to_string(), "RDY 5");
//! assert_eq!(nsqd.next_command().await.to_string(), format!("REQ {id} 60000"));
//!
//! // The minute passes at once, as nothing else is left to do.
//! let again = consumer.next().await.ok_or("closed")?;
//! assert_eq!(again.attempts(), 2);
//!
//! // This FIN comes too late, says the script.
//! nsqd.answer_next(Verb::Finish, Reply::error(format!("E_FIN_FAILED FIN {id} failed ID not in flight")));
//! again.finish()?;
//! nsqd.next_of(Verb::Finish).await;
//! # Ok(())
//! # })
//! # }
//! ```

mod behavior;
mod client_command;
mod latency;
mod mock_message;
mod mock_nsqd;
mod network;
mod reply;
mod wire;

pub use behavior::MockSettings;
pub use client_command::{ClientCommand, Recorded, Verb};
pub use mock_message::MockMessage;
pub use mock_nsqd::MockNsqd;
pub use network::MockNetwork;
pub use reply::Reply;
