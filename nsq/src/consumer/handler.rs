//! How [`Consumer::run`](super::Consumer::run) is to treat messages and their failures.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::message::Message;
use crate::error::ConfigError;

type Cause = Box<dyn Error + Send + Sync>;
type Hook = dyn Fn(Arc<Message>, Option<Failure>) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync;

/// That a handler failed, and what is to become of the message.
///
/// Every error converts into one, so that `?` works in a handler; then the message is requeued with the
/// delay of [`RunConfig`], and the consumer backs off where it has a
/// [`BackoffPolicy`](crate::BackoffPolicy). The methods say otherwise.
///
/// ```
/// use async_nsq::Failure;
///
/// fn parse(body: &[u8]) -> Result<u64, Failure> {
///     // A message that makes no sense will make none next time, and says nothing about the others.
///     let text = std::str::from_utf8(body).map_err(|error| Failure::new(error).for_good().without_backoff())?;
///     Ok(text.parse()?)
/// }
/// assert!(parse(b"7").is_ok());
/// assert!(parse(b"seven").is_err());
/// ```
pub struct Failure {
    cause: Cause,
    pub(super) delay: Option<Duration>,
    pub(super) backs_off: bool,
    pub(super) for_good: bool,
}

/// How [`Consumer::run_with`](super::Consumer::run_with) works. Start from [`RunConfig::new`].
///
/// ```
/// use async_nsq::RunConfig;
/// use std::time::Duration;
///
/// let mut config = RunConfig::new(16);
/// config.requeue_delay = Duration::from_secs(5); // 5 s after the first attempt, 10 s after the second
/// config.longest_requeue_delay = Duration::from_secs(60);
/// config.touch = true; // handlers may take longer than nsqd's `--msg-timeout`
/// ```
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// How many handlers run at a time. What arrives beyond that waits here, and its time runs, so
    /// [`max_in_flight`](super::ConsumerConfig::max_in_flight) should not be much more.
    pub concurrency: usize,
    /// The delay of a requeue, times the attempts so far. Default 90 s, as with the Go client.
    pub requeue_delay: Duration,
    /// No delay is longer. Default 15 min.
    pub longest_requeue_delay: Duration,
    /// Touch a message while its handler runs, so that nsqd does not give it to somebody else: each time
    /// half of its time has passed, until nsqd's `--max-msg-timeout` (15 min) ends that. Default no, as a
    /// handler that hangs then holds its message for as long.
    pub touch: bool,
    /// When to give a message up, and what to do with it then. Default never.
    pub dead_letters: Option<DeadLetters>,
}

/// Gives a message up after so many attempts: the hook takes it to where it is kept, and only once that
/// has succeeded the message is finished. Where the hook fails, the message is requeued, and the hook is
/// tried again with the next delivery.
///
/// ```
/// # use async_nsq::testing::{MockNetwork, Verb};
/// use async_nsq::{Channel, Consumer, ConsumerConfig, DeadLetters, Producer, ProducerConfig, RunConfig, Topic};
/// # use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
/// # runtime.block_on(async {
/// # let network = MockNetwork::new();
/// # network.nsqd("orders:4150").publish("order 1");
/// # let mut graveyard = network.nsqd("failed:4150");
/// # let mut config = ConsumerConfig::new(Topic::new("orders")?, Channel::new("billing")?);
/// # config.nsqd = vec!["orders:4150".into()];
/// # config.connection.dialer = Some(network.dialer());
/// # let consumer = Consumer::start(config)?;
/// # let control = consumer.control();
/// # let mut config = ProducerConfig::new("failed:4150");
/// # config.connection.dialer = Some(network.dialer());
/// # let producer = Producer::start(config)?;
/// // What has failed five times goes to a topic of its own.
/// let failed = Topic::new("orders.failed")?;
/// let mut config = RunConfig::new(16);
/// config.dead_letters = Some(DeadLetters::after(5, move |message, failure| {
///     let (producer, failed) = (producer.clone(), failed.clone());
///     async move {
///         println!("given up: {failure:?}");
///         producer.publish(&failed, message.body().clone()).await?;
///         Ok(())
///     }
/// }));
/// let running = tokio::spawn(consumer.run_with(config, |message| async move {
///     let order: u64 = std::str::from_utf8(message.body())?.parse()?;
///     println!("{order}");
///     Ok(())
/// }));
/// # assert_eq!(graveyard.next_of(Verb::Publish).await.to_string(), "PUB orders.failed");
/// # control.drain(Duration::from_secs(10)).await;
/// # running.await??;
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    pub(super) max_attempts: u16,
    pub(super) hook: Arc<Hook>,
}

// === impl Failure ===

impl Failure {
    /// A failure with this cause, to be treated as configured.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            delay: None,
            backs_off: true,
            for_good: false,
        }
    }

    /// Requeue with this delay.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Do not back off: this says something about the message only.
    pub fn without_backoff(mut self) -> Self {
        self.backs_off = false;
        self
    }

    /// Trying again is in vain: to the dead letters now, where there are any.
    pub fn for_good(mut self) -> Self {
        self.for_good = true;
        self
    }

    /// Why.
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }
}

// As `Failure` is no `Error` itself, every error can convert into it.
impl<E: Into<Cause>> From<E> for Failure {
    fn from(cause: E) -> Self {
        Self::new(cause)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("cause", &self.cause)
            .field("delay", &self.delay)
            .field("backs_off", &self.backs_off)
            .field("for_good", &self.for_good)
            .finish()
    }
}

// === impl RunConfig ===

impl RunConfig {
    /// The defaults, with so many handlers at a time (at least one).
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            requeue_delay: Duration::from_secs(90),
            longest_requeue_delay: Duration::from_secs(15 * 60),
            touch: false,
            dead_letters: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.concurrency == 0 {
            return Err(ConfigError {
                field: "concurrency",
                expected: "at least 1",
            });
        }
        if self
            .dead_letters
            .as_ref()
            .is_some_and(|letters| letters.max_attempts == 0)
        {
            return Err(ConfigError {
                field: "dead_letters",
                expected: "at least 1 attempt",
            });
        }
        Ok(())
    }

    /// The delay after this many attempts.
    pub(super) fn delay_after(&self, attempts: u16) -> Duration {
        let delay = self.requeue_delay.saturating_mul(u32::from(attempts));
        delay.min(self.longest_requeue_delay)
    }
}

// === impl DeadLetters ===

impl DeadLetters {
    /// Calls `hook` with a message whose handler has failed `max_attempts` times (at least 1) or
    /// [for good](Failure::for_good), and with its last failure; or without one when the message was
    /// attempted more often already when it came, as the last holder gave no answer.
    pub fn after<H, F>(max_attempts: u16, hook: H) -> Self
    where
        H: Fn(Arc<Message>, Option<Failure>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self {
            max_attempts,
            hook: Arc::new(move |message, failure| Box::pin(hook(message, failure))),
        }
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("max_attempts", &self.max_attempts)
            .finish_non_exhaustive()
    }
}
