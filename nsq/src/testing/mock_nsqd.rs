//! The handle on a mock.

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::behavior::{Behavior, MockSettings};
use super::client_command::{Recorded, Verb};
use super::mock_message::MockMessage;
use super::reply::Reply;
use super::wire::serve;
use crate::consumer::MessageId;

/// A handle on a mock nsqd. See the [module](super) for what it does.
///
/// A clone controls the same mock, and reads the commands recorded from the first one on. The mock goes on
/// as long as the runtime, with or without a handle.
///
/// ```
/// use async_nsq::testing::{MockNsqd, Reply, Verb};
/// use async_nsq::{Producer, ProducerConfig, PublishError, Topic};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let mut nsqd = MockNsqd::listen().await?;
/// let producer = Producer::start(ProducerConfig::new(nsqd.address()))?;
/// let topic = Topic::new("orders")?;
///
/// // Its disk is full, says the script; then all is well again.
/// nsqd.answer_next(Verb::Publish, Reply::fatal("E_PUB_FAILED PUB failed no space left on device"));
/// let refused = producer.publish(&topic, "order 1").await;
/// assert!(matches!(refused, Err(PublishError::Rejected(_))));
/// producer.publish(&topic, "order 1").await?;
///
/// assert_eq!(nsqd.next_of(Verb::Publish).await.to_string(), "PUB orders");
/// assert_eq!((nsqd.accepted(), nsqd.depth()), (2, 1)); // connected anew, and stored once
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MockNsqd {
    address: String,
    behavior: Arc<Behavior>,
    /// How many of the commands recorded were read by this handle.
    read: usize,
}

// === impl MockNsqd ===

impl MockNsqd {
    pub(super) fn new(address: String, behavior: Arc<Behavior>) -> Self {
        Self {
            address,
            behavior,
            read: 0,
        }
    }

    /// A mock on a free TCP port of this machine.
    ///
    /// # Errors
    /// No port could be had.
    ///
    /// # Cancel safety
    /// Nothing is left when the future is dropped.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let behavior = Arc::new(Behavior::default());
        let accepting = behavior.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Without it, small frames would wait for each other; where it fails, they do.
                let _ = stream.set_nodelay(true);
                if !accepting.refuses() {
                    tokio::spawn(serve(stream, accepting.clone()));
                }
            }
        });
        Ok(Self::new(address, behavior))
    }

    /// Where it is reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes what it tells in its answers to IDENTIFY, and goes by, from now on.
    pub fn configure(&self, change: impl FnOnce(&mut MockSettings)) {
        self.behavior.configure(change);
    }

    /// Puts a message into the channel. It is delivered as soon as a client's RDY allows, and again when it
    /// is requeued or not answered in time.
    pub fn publish(&self, message: impl Into<MockMessage>) -> MessageId {
        self.behavior.publish(message.into())
    }

    /// Answers the next command of this kind so, in place of what it would do. Asked several times, it
    /// answers the one behind that so, and so on.
    ///
    /// What the command would change (RDY, in flight, the channel) is not changed.
    pub fn answer_next(&self, verb: Verb, reply: Reply) {
        self.behavior.answer_next(verb, reply);
    }

    /// Answers all commands of this kind so, where nothing was said about the next one.
    pub fn answer_always(&self, verb: Verb, reply: Reply) {
        self.behavior.answer_always(verb, reply);
    }

    /// Sends something to all that are connected, now.
    pub fn send(&self, reply: Reply) {
        self.behavior.send_to_all(&reply);
    }

    /// Closes all connections behind what was sent. Clients may connect again.
    pub fn disconnect(&self) {
        self.behavior.send_to_all(&Reply::Disconnect);
    }

    /// Refuses connections from now on, or no longer. On TCP they are closed at once.
    pub fn refuse_connections(&self, refuse: bool) {
        self.behavior.refuse(refuse);
    }

    /// The next command that this handle has not read. Waits while there is none, for ever if need be:
    /// tests put a deadline on it.
    ///
    /// # Cancel safety
    /// No command is lost when the future is dropped.
    pub async fn next_command(&mut self) -> Recorded {
        let command = self.behavior.recorded_at(self.read).await;
        self.read += 1;
        command
    }

    /// The next command of this kind; those before are passed over.
    ///
    /// # Cancel safety
    /// Those passed over are not read again when the future is dropped.
    pub async fn next_of(&mut self, verb: Verb) -> Recorded {
        loop {
            let recorded = self.next_command().await;
            if recorded.command.verb() == verb {
                return recorded;
            }
        }
    }

    /// All commands that have arrived, from the first on.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.behavior.recorded()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.behavior.connections()
    }

    /// How many connections were ever made.
    pub fn accepted(&self) -> usize {
        self.behavior.accepted()
    }

    /// How many messages wait to be delivered; those whose delay runs are not counted.
    pub fn depth(&self) -> usize {
        self.behavior.depth()
    }

    /// How many messages are delivered and not answered, on connections that are there. Those of a
    /// connection that is gone wait for their timeout.
    pub fn in_flight(&self) -> usize {
        self.behavior.in_flight()
    }

    /// The most that ever were in flight.
    pub fn most_in_flight(&self) -> usize {
        self.behavior.most_in_flight()
    }
}
