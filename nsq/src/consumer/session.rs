//! One connection of a consumer, from SUB to its end.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::link::{Confirm, Gauge, Lifetime, LinkCommand, Shared};
use super::message::{AnswerError, Message, MessageId, Origin};
use super::refusal::{RefusedAnswer, RefusedBy};
use super::throttle::Verdict;
use crate::command::Command;
use crate::connection::Connection;
use crate::error::{ConnectionError, ErrorCode, FailedAnswer, ServerError};
use crate::frame::{Frame, RawMessage};

/// After everything is answered, how long to listen for messages that nsqd sent before it read CLS. One
/// missed would come again only when its deadline has passed.
const LATE_MESSAGES: Duration = Duration::from_millis(50);

/// How much later than its deadline a message still counts as in flight: nsqd looks for late ones every 100 ms
/// (queue-scan-interval, nsqd/options.go), at some of its channels each time, and counts them until then.
const SCAN: Duration = Duration::from_millis(200);

/// A connection that is subscribed.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    connection: Connection,
    origin: Arc<Origin>,
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    gauge: Arc<Gauge>,
    /// The messages that nsqd waits for.
    in_flight: HashMap<MessageId, Held>,
    /// Nothing in `in_flight` is given up earlier.
    next_expiry: Instant,
    /// As last sent.
    rdy: u32,
    largest_rdy: u32,
    /// The fences on their way, in the order sent, each with the FIN before it whose fate is to be told.
    fences: VecDeque<Option<Fenced>>,
    closing: Closing,
}

/// A message that nsqd waits for.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// When nsqd will have given it up.
    until: Instant,
    /// Tells its deliveries apart.
    attempts: u16,
}

/// A FIN with a fence behind it.
#[derive(Debug)]
struct Fenced {
    id: MessageId,
    /// Taken when nsqd has refused it.
    confirm: Option<Confirm>,
}

/// No message has this id: nsqd's are hexadecimal. A TOUCH of it is always refused, and shows by that how far nsqd has
/// come: commands of a connection are run in order.
const FENCE: MessageId = MessageId::from_bytes(*b"async-nsq--fence");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// CLS was sent.
    Asked,
    /// nsqd has read it.
    Granted,
    /// The time for closing is over: all was requeued, and the rest of this is writing that.
    Late,
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
            rdy: 0,
            largest_rdy: 0,
            fences: VecDeque::new(),
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
            let shared = self.shared;
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
                () = shared.late.cancelled(), if self.closing != Closing::Late => self.give_all_back(),
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
            // The time for closing was over before nsqd had read it.
            Frame::Response(data) if data == "CLOSE_WAIT" && self.closing == Closing::Late => Ok(()),
            Frame::Response(_) => Err(ConnectionError::Protocol("a response to no command")),
            Frame::Error(error) if error.code.is_fatal() => Err(error.into()),
            Frame::Error(error) => {
                self.refused(error);
                Ok(())
            }
        }
    }

    /// nsqd did not take an answer or a touch, or has come to a fence.
    fn refused(&mut self, error: ServerError) {
        let failed = error.failed_answer();
        if let Some(failed) = &failed {
            if failed.id == FENCE {
                let fenced = self.fences.pop_front().flatten();
                if let Some(confirm) = fenced.and_then(|fenced| fenced.confirm) {
                    // Whoever asked may have stopped waiting.
                    let _ = confirm.send(Ok(()));
                }
                return;
            }
            if failed.code == ErrorCode::FinFailed
                && let Some(Some(fenced)) = self.fences.front_mut()
                && fenced.id == failed.id
                && let Some(confirm) = fenced.confirm.take()
            {
                let _ = confirm.send(Err(AnswerError::Refused(error.clone())));
            }
        }
        warn!(%error, "nsqd refused an answer; the message comes again");
        match failed {
            Some(failed) => self.tell_refused(failed, RefusedBy::Nsqd),
            None => self.count_refused(),
        }
    }

    fn tell_refused(&self, FailedAnswer { id, code }: FailedAnswer, by: RefusedBy) {
        self.count_refused();
        // Nobody may be listening.
        let _ = self.shared.refusals.send(RefusedAnswer {
            nsqd: self.origin.address.clone(),
            id,
            code,
            by,
        });
    }

    fn count_refused(&self) {
        self.shared
            .counters
            .refused_answers
            .fetch_add(1, Ordering::Relaxed);
    }

    fn receive(&mut self, raw: RawMessage) -> Result<(), ConnectionError> {
        // Deadlines are known only roughly here, so nsqd may be a little ahead of us; but no server
        // makes this side hold without limit.
        if self.in_flight.len() > self.largest_rdy as usize * 2 + 64 {
            return Err(ConnectionError::Protocol("more messages than RDY allows"));
        }
        let message = Message::new(raw, self.origin.clone());
        let until = message.deadline() + SCAN;
        if self.in_flight.is_empty() {
            self.next_expiry = until;
        }
        let held = Held {
            until,
            attempts: message.attempts(),
        };
        self.in_flight.insert(message.id(), held);
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::Relaxed);
        self.gauge.received.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.received.fetch_add(1, Ordering::Relaxed);
        if matches!(self.closing, Closing::Granted | Closing::Late) {
            self.give_back_one(message);
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
        for message in self.shared.inbox.take_from(self.origin.generation) {
            self.give_back_one(message);
        }
    }

    fn give_back_one(&mut self, message: Message) {
        self.requeue(message.id(), Duration::ZERO);
        message.forget();
        self.shared.given_back.fetch_add(1, Ordering::Relaxed);
    }

    /// Requeues everything, what is held included, whose holders can answer no more.
    fn give_all_back(&mut self) {
        if self.closing != Closing::Granted {
            // It would send the same messages to this connection again.
            self.connection.send(Command::Ready(0));
        }
        self.closing = Closing::Late;
        self.commands.close();
        // Answers given in time.
        while let Ok(command) = self.commands.try_recv() {
            self.execute(command);
        }
        self.give_back();
        let held: Vec<MessageId> = self.in_flight.keys().copied().collect();
        self.shared.abandoned.fetch_add(held.len(), Ordering::Relaxed);
        for id in held {
            self.requeue(id, Duration::ZERO);
        }
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
            LinkCommand::Ready => self.send_ready(),
            LinkCommand::Finish {
                id,
                attempts,
                confirm,
            } => {
                self.judge(Verdict::Success);
                if confirm.is_some() && attempts > 1 {
                    // An earlier delivery's FIN may be on its way, and its refusal is not to be taken for this one's.
                    self.fence(None);
                }
                self.connection.send(Command::Finish(id));
                if confirm.is_some() {
                    self.fence(Some(Fenced { id, confirm }));
                }
                self.shared.counters.finished.fetch_add(1, Ordering::Relaxed);
                self.answered(id);
            }
            LinkCommand::Requeue {
                id,
                attempts,
                delay,
                verdict,
            } => {
                self.judge(verdict);
                if self.is_superseded(id, attempts) {
                    let code = ErrorCode::ReqFailed;
                    self.tell_refused(FailedAnswer { id, code }, RefusedBy::Client);
                } else {
                    self.requeue(id, delay);
                }
            }
            LinkCommand::Touch {
                id,
                attempts,
                deadline,
            } => {
                if self.is_superseded(id, attempts) {
                    let code = ErrorCode::TouchFailed;
                    self.tell_refused(FailedAnswer { id, code }, RefusedBy::Client);
                    return;
                }
                self.connection.send(Command::Touch(id));
                self.shared.counters.touched.fetch_add(1, Ordering::Relaxed);
                if let Some(held) = self.in_flight.get_mut(&id) {
                    held.until = deadline + SCAN;
                }
            }
        }
    }

    fn fence(&mut self, fenced: Option<Fenced>) {
        self.connection.send(Command::Touch(FENCE));
        self.fences.push_back(fenced);
    }

    fn requeue(&mut self, id: MessageId, delay: Duration) {
        self.connection.send(Command::Requeue { id, delay });
        self.shared.counters.requeued.fetch_add(1, Ordering::Relaxed);
        self.answered(id);
    }

    /// Whether a later delivery of the message came on this connection. nsqd would take an answer to the
    /// earlier for one to the later, which somebody else holds. A FIN is sent all the same: the work is done.
    fn is_superseded(&self, id: MessageId, attempts: u16) -> bool {
        let held = self.in_flight.get(&id);
        held.is_some_and(|held| held.attempts != attempts)
    }

    /// What an answer says about how things go may change the RDY, and that goes out before the answer.
    fn judge(&mut self, verdict: Verdict) {
        if self.shared.flow.judge(verdict) {
            self.send_ready();
            // It has a timer to set, and a state to tell.
            self.shared.signal.answered.notify_one();
        }
    }

    fn send_ready(&mut self) {
        let target = self.gauge.target.load(Ordering::Acquire);
        if target != self.rdy && self.closing == Closing::No {
            self.rdy = target;
            self.largest_rdy = self.largest_rdy.max(target);
            self.connection.send(Command::Ready(target));
        }
    }

    fn answered(&mut self, id: MessageId) {
        self.in_flight.remove(&id);
        self.in_flight_shrank();
    }

    /// Stops counting what nsqd has given up by now.
    fn expire(&mut self) {
        let now = Instant::now();
        self.in_flight.retain(|_, held| held.until > now);
        let next = self.in_flight.values().map(|held| held.until).min();
        self.next_expiry = next.unwrap_or(now);
        self.in_flight_shrank();
    }

    fn in_flight_shrank(&self) {
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::SeqCst);
        // In one order with the coordinator's, which says that it wants to know and then looks.
        if self.shared.signal.wanted.load(Ordering::SeqCst) {
            self.shared.signal.answered.notify_one();
        }
    }

    fn is_drained(&self) -> bool {
        matches!(self.closing, Closing::Granted | Closing::Late)
            && self.in_flight.is_empty()
            && self.commands.is_empty()
            && self
                .fences
                .iter()
                .flatten()
                .all(|fenced| fenced.confirm.is_none())
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
