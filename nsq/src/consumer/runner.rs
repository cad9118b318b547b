//! Handling messages with a function, many at a time.

use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, pending};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tracing::{Instrument, debug, error, info_span, warn};

use super::Consumer;
use super::handler::{Failure, RunConfig};
use super::link::Shared;
use super::message::Message;
use super::state::Drained;
use super::throttle::Verdict;
use crate::error::ConfigError;

/// What every handler's task needs.
struct Runner<H> {
    config: RunConfig,
    handler: H,
    shared: Arc<Shared>,
}

// === impl Consumer ===

impl Consumer {
    /// Handles messages, at most `concurrency` at a time, until the consumer is drained by
    /// [`ConsumerControl::drain`](super::ConsumerControl::drain); tells how that went.
    ///
    /// A handler's `Ok` finishes the message. Its `Err`, and its panic, which is its alone, requeue it, by
    /// the defaults of [`RunConfig`] or as the [`Failure`] says. Handlers run as tasks of their own. Those
    /// that still run when the drain's deadline has passed are aborted, as their messages are requeued then.
    ///
    /// ```
    /// use async_nsq::testing::MockNetwork;
    /// use async_nsq::{Channel, Consumer, ConsumerConfig, Topic};
    /// use std::time::Duration;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    /// # runtime.block_on(async {
    /// # let network = MockNetwork::new();
    /// # network.nsqd("127.0.0.1:4150").publish("17");
    /// let mut config = ConsumerConfig::new(Topic::new("numbers")?, Channel::new("sum")?);
    /// config.nsqd = vec!["127.0.0.1:4150".into()];
    /// # config.connection.dialer = Some(network.dialer());
    /// let consumer = Consumer::start(config)?;
    /// let control = consumer.control();
    ///
    /// let running = tokio::spawn(consumer.run(16, |message| async move {
    ///     let number: u64 = std::str::from_utf8(message.body())?.parse()?;
    ///     println!("{number}");
    ///     Ok(())
    /// }));
    /// # while control.stats().finished == 0 { tokio::time::sleep(Duration::from_millis(1)).await; }
    /// // Later, on the way out:
    /// control.drain(Duration::from_secs(10)).await;
    /// let drained = running.await??;
    /// assert_eq!(drained.abandoned, 0);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] where `concurrency` is zero.
    ///
    /// # Cancel safety
    /// When the future is dropped, running handlers are aborted, their messages requeued at once, and the
    /// consumer is closed as when it is dropped.
    pub async fn run<H, F>(self, concurrency: usize, handler: H) -> Result<Drained, ConfigError>
    where
        H: Fn(Arc<Message>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        self.run_with(RunConfig::new(concurrency), handler).await
    }

    /// As [`run`](Consumer::run), with more to choose.
    ///
    /// # Errors
    /// [`ConfigError`] where the configuration cannot work.
    ///
    /// # Cancel safety
    /// As [`run`](Consumer::run).
    pub async fn run_with<H, F>(mut self, config: RunConfig, handler: H) -> Result<Drained, ConfigError>
    where
        H: Fn(Arc<Message>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        config.validate()?;
        let control = self.control();
        let concurrency = config.concurrency;
        let runner = Arc::new(Runner {
            config,
            handler,
            shared: control.shared.clone(),
        });
        // Aborts what is in it when dropped.
        let mut running = JoinSet::new();
        let handling = async {
            loop {
                tokio::select! {
                    // Handlers' panics are caught, so there is nothing in what they leave.
                    Some(_) = running.join_next() => {}
                    message = self.next(), if running.len() < concurrency => match message {
                        Some(message) => drop(running.spawn(runner.clone().handle(message))),
                        None => break,
                    },
                }
            }
            while running.join_next().await.is_some() {}
        };
        // All connections may be gone before; what handlers do is still worth its end.
        let out_of_time = async {
            control.deadline_of_drain().await;
            control.drained().await
        };
        tokio::select! {
            biased;
            () = handling => Ok(control.drained().await),
            drained = out_of_time => Ok(drained),
        }
    }
}

// === impl Runner ===

impl<H, F> Runner<H>
where
    H: Fn(Arc<Message>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    async fn handle(self: Arc<Self>, message: Message) {
        let span = info_span!(
            "nsq_message",
            id = %message.id(),
            attempts = message.attempts(),
            nsqd = message.nsqd(),
        );
        self.handle_message(Arc::new(message)).instrument(span).await;
    }

    async fn handle_message(&self, message: Arc<Message>) {
        let work = async {
            let letters = self.config.dead_letters.as_ref();
            let given_up = letters.is_some_and(|letters| message.attempts() > letters.max_attempts);
            if given_up {
                return self.bury(&message, None).await;
            }
            let Err(failure) = self.caught(|| (self.handler)(message.clone())).await else {
                return Ok(());
            };
            self.shared.counters.failed.fetch_add(1, Ordering::Relaxed);
            let last = letters.is_some_and(|letters| message.attempts() >= letters.max_attempts);
            if letters.is_some() && (last || failure.for_good) {
                return self.bury(&message, Some(failure)).await;
            }
            Err(failure)
        };
        let result = tokio::select! {
            result = work => result,
            never = self.keep(&message) => match never {},
        };
        let answered = match result {
            Ok(()) => message.finish_shared(),
            Err(failure) => self.requeue(&message, &failure),
        };
        if let Err(error) = answered {
            warn!(%error, "handled, but not answered");
        }
    }

    fn requeue(&self, message: &Message, failure: &Failure) -> Result<(), super::AnswerError> {
        let delay = failure.delay;
        let delay = delay.unwrap_or_else(|| self.config.delay_after(message.attempts()));
        let verdict = if failure.backs_off {
            Verdict::Failure
        } else {
            Verdict::Neither
        };
        warn!(error = %failure, ?delay, "a message failed");
        message.requeue_shared(delay, verdict)
    }

    /// Takes a message to the dead letters.
    async fn bury(&self, message: &Arc<Message>, failure: Option<Failure>) -> Result<(), Failure> {
        let Some(letters) = &self.config.dead_letters else {
            return Ok(());
        };
        error!(
            error = failure.as_ref().map(tracing::field::display),
            "a message is given up"
        );
        self.caught(|| (letters.hook)(message.clone(), failure)).await?;
        self.shared.counters.dead_lettered.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Runs users' code; a panic of it becomes a failure.
    async fn caught<W, R>(&self, work: W) -> Result<(), Failure>
    where
        W: FnOnce() -> R,
        R: Future<Output = Result<(), Failure>>,
    {
        // Calling it may panic as well as running it. What it shared with others is theirs to guard; here
        // nothing of it is looked at again.
        let guarded = AssertUnwindSafe(async { work().await }).catch_unwind();
        guarded.await.unwrap_or_else(|panic| {
            self.shared.counters.panicked.fetch_add(1, Ordering::Relaxed);
            Err(Failure::new(format!("the handler panicked: {}", told(&*panic))))
        })
    }

    /// Touches the message for as long as that helps; never ends.
    async fn keep(&self, message: &Message) -> Infallible {
        if !self.config.touch {
            return pending().await;
        }
        while message.deadline() < message.latest_deadline() {
            sleep_until(message.deadline() - message.msg_timeout() / 2).await;
            if message.is_expired() {
                // Nothing is left to be kept.
                break;
            }
            if let Err(error) = message.touch() {
                debug!(%error, "not touched");
                break;
            }
        }
        pending().await
    }
}

/// What a panic said.
fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
