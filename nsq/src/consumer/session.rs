//! One connection of a consumer, from SUB to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::link::{Gauge, Lifetime, LinkCommand, Shared};
use super::message::{Message, MessageId, Origin};
use crate::command::Command;
use crate::connection::Connection;
use crate::error::ConnectionError;
use crate::frame::{Frame, RawMessage};

/// After everything is answered, how long to listen for messages that nsqd sent before it read CLS. One
/// missed would come again only when its deadline has passed.
const LATE_MESSAGES: Duration = Duration::from_millis(50);

/// A connection that is subscribed.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    connection: Connection,
    origin: Arc<Origin>,
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    gauge: Arc<Gauge>,
    /// The messages that nsqd waits for, and until when.
    in_flight: HashMap<MessageId, Instant>,
    /// No deadline in `in_flight` is earlier.
    next_expiry: Instant,
    largest_rdy: u32,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// CLS was sent.
    Asked,
    /// nsqd has read it.
    Granted,
}

// === impl Session ===

impl<'a> Session<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        connection: Connection,
        origin: Arc<Origin>,
        commands: mpsc::UnboundedReceiver<LinkCommand>,
        gauge: Arc<Gauge>,
    ) -> Self {
        Self {
            shared,
            connection,
            origin,
            commands,
            gauge,
            in_flight: HashMap::new(),
            next_expiry: Instant::now(),
            largest_rdy: 0,
            closing: Closing::No,
        }
    }

    /// `Ok` when it was drained.
    pub(super) async fn run(
        &mut self,
        lifetime: &mut watch::Receiver<Lifetime>,
    ) -> Result<(), ConnectionError> {
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                self.take(frame)?;
            }
            if self.is_drained() {
                self.answer_late_messages().await?;
                if self.is_drained() {
                    return Ok(());
                }
            }
            let has_room = self.connection.has_room();
            tokio::select! {
                biased;
                progress = self.connection.drive() => progress?,
                Some(command) = self.commands.recv(), if has_room => self.execute_all(command),
                () = sleep_until(self.next_expiry), if !self.in_flight.is_empty() => self.expire(),
                changed = lifetime.wait_for(|lifetime| *lifetime == Lifetime::UntilDrained), if self.closing == Closing::No => {
                    // An error means that the coordinator is gone, and by that the consumer.
                    drop(changed);
                    self.closing = Closing::Asked;
                    self.connection.send(Command::Close);
                }
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::Message(raw) => self.receive(raw),
            Frame::Response(data) if data == "CLOSE_WAIT" && self.closing == Closing::Asked => {
                self.closing = Closing::Granted;
                self.give_back();
                Ok(())
            }
            Frame::Response(_) => Err(ConnectionError::Protocol("a response to no command")),
            Frame::Error(error) if error.code.is_fatal() => Err(error.into()),
            Frame::Error(error) => {
                warn!(nsqd = %self.origin.address, %error, "nsqd refused an answer; the message comes again");
                self.shared
                    .counters
                    .refused_answers
                    .fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn receive(&mut self, raw: RawMessage) -> Result<(), ConnectionError> {
        // Deadlines are known only roughly here, so nsqd may be a little ahead of us; but no server
        // makes this side hold without limit.
        if self.in_flight.len() > self.largest_rdy as usize * 2 + 64 {
            return Err(ConnectionError::Protocol("more messages than RDY allows"));
        }
        let message = Message::new(raw, self.origin.clone());
        if self.in_flight.is_empty() {
            self.next_expiry = message.deadline();
        }
        self.in_flight.insert(message.id(), message.deadline());
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::Relaxed);
        self.gauge.received.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.received.fetch_add(1, Ordering::Relaxed);
        if self.closing == Closing::Granted {
            drop(message);
            self.shared.given_back.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let expired = self.shared.inbox.push(message);
        self.shared
            .counters
            .expired
            .fetch_add(expired as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Requeues what was not handed out. Not before nsqd has read CLS: it would send the same messages to
    /// this connection again.
    fn give_back(&mut self) {
        let unstarted = self.shared.inbox.take_from(self.origin.generation);
        self.shared
            .given_back
            .fetch_add(unstarted.len(), Ordering::Relaxed);
        drop(unstarted);
    }

    /// Executes this command and those that wait behind it.
    fn execute_all(&mut self, first: LinkCommand) {
        self.execute(first);
        while self.connection.has_room() {
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            self.execute(command);
        }
    }

    fn execute(&mut self, command: LinkCommand) {
        match command {
            LinkCommand::Ready(count) => {
                self.largest_rdy = self.largest_rdy.max(count);
                self.connection.send(Command::Ready(count));
            }
            LinkCommand::Finish(id) => {
                self.connection.send(Command::Finish(id));
                self.shared.counters.finished.fetch_add(1, Ordering::Relaxed);
                self.answered(id);
            }
            LinkCommand::Requeue { id, delay } => {
                self.connection.send(Command::Requeue { id, delay });
                self.shared.counters.requeued.fetch_add(1, Ordering::Relaxed);
                self.answered(id);
            }
            LinkCommand::Touch { id, deadline } => {
                self.connection.send(Command::Touch(id));
                if let Some(known) = self.in_flight.get_mut(&id) {
                    *known = deadline;
                }
            }
        }
    }

    fn answered(&mut self, id: MessageId) {
        self.in_flight.remove(&id);
        self.in_flight_shrank();
    }

    /// Stops counting what nsqd has given up by now.
    fn expire(&mut self) {
        let now = Instant::now();
        self.in_flight.retain(|_, deadline| *deadline > now);
        self.next_expiry = self.in_flight.values().min().copied().unwrap_or(now);
        self.in_flight_shrank();
    }

    fn in_flight_shrank(&self) {
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::Release);
        if self.shared.signal.wanted.load(Ordering::Acquire) {
            self.shared.signal.answered.notify_one();
        }
    }

    fn is_drained(&self) -> bool {
        self.closing == Closing::Granted
            && self.in_flight.is_empty()
            && self.commands.is_empty()
            && self.connection.is_flushed()
    }

    async fn answer_late_messages(&mut self) -> Result<(), ConnectionError> {
        let quiet = sleep(LATE_MESSAGES);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                progress = self.connection.drive() => progress?,
                () = &mut quiet => return Ok(()),
            }
            while let Some(frame) = self.connection.next_frame()? {
                debug!(nsqd = %self.origin.address, "a frame came after CLOSE_WAIT");
                self.take(frame)?;
            }
            if !self.is_drained() {
                return Ok(());
            }
        }
    }
}
