//! The state of a mock: its one channel, its clients, its script. Time is tokio's; waiting is the caller's.

use std::collections::{BTreeMap, HashMap, VecDeque};

use std::time::Duration;
use tokio::sync::mpsc;

use tokio::time::Instant;

use super::MockSettings;
use crate::consumer::MessageId;
use crate::testing::client_command::{ClientCommand, Recorded, Verb};
use crate::testing::mock_message::MockMessage;
use crate::testing::reply::{Reply, message_frame};
use crate::testing::wire::Output;

/// nsqd's own, for clients that ask for none: half of its `--client-timeout`.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) settings: MockSettings,
    pub(super) refusing: bool,
    pub(super) recorded: Vec<Recorded>,
    pub(super) next: HashMap<Verb, VecDeque<Reply>>,
    pub(super) always: HashMap<Verb, Reply>,
    pub(super) clients: BTreeMap<usize, Client>,
    pub(super) accepted: usize,
    /// To be delivered.
    pub(super) waiting: VecDeque<(MessageId, MockMessage)>,
    pub(super) in_flight: HashMap<MessageId, Delivery>,
    pub(super) most_in_flight: usize,
    /// What is to be told to [`State::ring`] at a time.
    pub(super) alarms: Vec<(Instant, Alarm)>,
    /// Ids given out, and deliveries made.
    ids: u64,
    deliveries: u64,
}

#[derive(Debug)]
pub(super) struct Client {
    outputs: mpsc::UnboundedSender<Output>,
    subscribed: bool,
    closing: bool,
    ready: u32,
}

#[derive(Debug)]
pub(super) struct Delivery {
    /// Tells it from other deliveries of the same message.
    number: u64,
    connection: usize,
    message: MockMessage,
    delivered: Instant,
    deadline: Instant,
}

#[derive(Debug)]
pub(super) enum Alarm {
    /// The deadline of a delivery may have passed.
    Deadline { id: MessageId, number: u64 },
    /// The delay of a message is over.
    Due { id: MessageId, message: MockMessage },
    /// A heartbeat is due, and the next one after the interval.
    Heartbeat { connection: usize, interval: Duration },
    /// A reply's delay is over.
    Send { connection: usize, reply: Reply },
}

// === impl State ===

impl State {
    pub(super) fn connect(&mut self, outputs: mpsc::UnboundedSender<Output>) -> usize {
        let connection = self.accepted;
        self.accepted += 1;
        let client = Client {
            outputs,
            subscribed: false,
            closing: false,
            ready: 0,
        };
        self.clients.insert(connection, client);
        connection
    }

    pub(super) fn take(&mut self, connection: usize, command: ClientCommand) {
        let verb = command.verb();
        self.recorded.push(Recorded {
            connection,
            at: Instant::now(),
            command: command.clone(),
        });
        let next = self.next.get_mut(&verb).and_then(VecDeque::pop_front);
        match next.or_else(|| self.always.get(&verb).cloned()) {
            Some(reply) => self.send(connection, &reply),
            None => self.act(connection, command),
        }
    }

    pub(super) fn publish(&mut self, message: MockMessage) -> MessageId {
        let id = message.id.unwrap_or_else(|| self.fresh_id());
        self.waiting.push_back((id, message));
        id
    }

    pub(super) fn send(&mut self, connection: usize, reply: &Reply) {
        match reply {
            Reply::Several(replies) => replies.iter().for_each(|reply| self.send(connection, reply)),
            Reply::Later(delay, reply) => {
                let reply = (**reply).clone();
                self.alarm(*delay, Alarm::Send { connection, reply });
            }
            Reply::Disconnect => self.put(connection, Output::End),
            other => {
                if let Some(bytes) = other.encode() {
                    self.put(connection, Output::Bytes(bytes));
                }
            }
        }
    }

    pub(super) fn ring(&mut self, alarm: Alarm) {
        match alarm {
            Alarm::Send { connection, reply } => self.send(connection, &reply),
            Alarm::Heartbeat { connection, interval } => {
                if self.clients.contains_key(&connection) && !self.settings.silent {
                    self.send(connection, &Reply::heartbeat());
                    self.alarm(interval, Alarm::Heartbeat { connection, interval });
                }
            }
            Alarm::Due { id, message } => self.waiting.push_back((id, message)),
            Alarm::Deadline { id, number } => {
                let Some(delivery) = self.in_flight.get(&id).filter(|held| held.number == number) else {
                    return;
                };
                if delivery.deadline > Instant::now() {
                    // Touched.
                    self.alarms
                        .push((delivery.deadline, Alarm::Deadline { id, number }));
                } else if let Some(delivery) = self.in_flight.remove(&id) {
                    self.waiting.push_back((id, delivery.message));
                }
            }
        }
    }

    /// Delivers what waits to those with room, the least busy first.
    pub(super) fn deliver(&mut self) {
        while !self.waiting.is_empty() {
            let free = |(&connection, client): (&usize, &Client)| {
                let busy = self.in_flight_of(connection);
                let takes = client.subscribed && !client.closing && busy < client.ready as usize;
                takes.then_some((busy, connection))
            };
            let Some((_, connection)) = self.clients.iter().filter_map(free).min() else {
                return;
            };
            let Some((id, mut message)) = self.waiting.pop_front() else {
                return;
            };
            self.put(connection, Output::Bytes(message_frame(&message, id)));
            message.attempts_before = message.attempts_before.saturating_add(1);
            self.deliveries += 1;
            let number = self.deliveries;
            let delivered = Instant::now();
            let deadline = delivered + self.settings.msg_timeout;
            self.alarms.push((deadline, Alarm::Deadline { id, number }));
            let delivery = Delivery {
                number,
                connection,
                message,
                delivered,
                deadline,
            };
            self.in_flight.insert(id, delivery);
            self.most_in_flight = self.most_in_flight.max(self.live_in_flight());
        }
    }

    /// What an nsqd would do.
    fn act(&mut self, connection: usize, command: ClientCommand) {
        let reply = match command {
            ClientCommand::Identify(asked) => {
                if let Some(interval) = heartbeat_interval(&asked) {
                    self.alarm(interval, Alarm::Heartbeat { connection, interval });
                }
                Reply::response(self.identify_answer())
            }
            ClientCommand::Auth(_) => {
                Reply::response(r#"{"identity":"mock","identity_url":"","permission_count":1}"#)
            }
            ClientCommand::Subscribe { .. } => {
                self.with_client(connection, |client| client.subscribed = true);
                Reply::ok()
            }
            ClientCommand::Publish { body, .. } => {
                self.publish(MockMessage::new(body));
                Reply::ok()
            }
            ClientCommand::PublishMany { bodies, .. } => {
                for body in bodies {
                    self.publish(MockMessage::new(body));
                }
                Reply::ok()
            }
            ClientCommand::PublishDeferred { delay, body, .. } => {
                let id = self.fresh_id();
                self.put_back(id, MockMessage::new(body), delay);
                Reply::ok()
            }
            ClientCommand::Ready(count) if count > self.settings.max_rdy_count => {
                let most = self.settings.max_rdy_count;
                Reply::fatal(format!("E_INVALID RDY count {count} out of range 0-{most}"))
            }
            ClientCommand::Ready(count) => {
                self.with_client(connection, |client| client.ready = count);
                Reply::Silence
            }
            ClientCommand::Finish(id) => match self.take_in_flight(connection, id) {
                Some(_) => Reply::Silence,
                None => Reply::error(format!("E_FIN_FAILED FIN {id} failed ID not in flight")),
            },
            ClientCommand::Requeue { id, delay } => match self.take_in_flight(connection, id) {
                Some(message) => {
                    self.put_back(id, message, delay);
                    Reply::Silence
                }
                None => Reply::error(format!("E_REQ_FAILED REQ {id} failed ID not in flight")),
            },
            ClientCommand::Touch(id) => {
                if self.touch(connection, id) {
                    Reply::Silence
                } else {
                    Reply::error(format!("E_TOUCH_FAILED TOUCH {id} failed ID not in flight"))
                }
            }
            ClientCommand::Close => {
                self.with_client(connection, |client| client.closing = true);
                Reply::response("CLOSE_WAIT")
            }
            ClientCommand::Nop => Reply::Silence,
            ClientCommand::Other(line) => Reply::fatal(format!("E_INVALID invalid command {line}")),
        };
        self.send(connection, &reply);
    }

    fn identify_answer(&self) -> String {
        serde_json::json!({
            "max_rdy_count": self.settings.max_rdy_count,
            "version": "1.3.0",
            "max_msg_timeout": millis(self.settings.max_msg_timeout),
            "msg_timeout": millis(self.settings.msg_timeout),
            "tls_v1": false,
            "deflate": false,
            "deflate_level": 0,
            "max_deflate_level": 6,
            "snappy": false,
            "sample_rate": 0,
            "auth_required": false,
            "output_buffer_size": 16384,
            "output_buffer_timeout": 250,
        })
        .to_string()
    }

    /// Takes a message out of flight, if it is in flight on this connection.
    fn take_in_flight(&mut self, connection: usize, id: MessageId) -> Option<MockMessage> {
        let held = self.in_flight.get(&id)?;
        if held.connection != connection {
            return None;
        }
        self.in_flight.remove(&id).map(|held| held.message)
    }

    fn touch(&mut self, connection: usize, id: MessageId) -> bool {
        let held = self.in_flight.get_mut(&id);
        let Some(held) = held.filter(|held| held.connection == connection) else {
            return false;
        };
        let latest = held.delivered + self.settings.max_msg_timeout;
        held.deadline = latest.min(Instant::now() + self.settings.msg_timeout);
        true
    }

    fn put_back(&mut self, id: MessageId, message: MockMessage, delay: Duration) {
        if delay.is_zero() {
            self.waiting.push_back((id, message));
        } else {
            self.alarm(delay, Alarm::Due { id, message });
        }
    }

    /// Those of clients that are there.
    pub(super) fn live_in_flight(&self) -> usize {
        let held = self.in_flight.values();
        held.filter(|held| self.clients.contains_key(&held.connection))
            .count()
    }

    fn in_flight_of(&self, connection: usize) -> usize {
        let held = self.in_flight.values();
        held.filter(|held| held.connection == connection).count()
    }

    fn fresh_id(&mut self) -> MessageId {
        self.ids += 1;
        let digits = format!("{:016x}", self.ids);
        let mut id = [b'0'; MessageId::LEN];
        id.copy_from_slice(&digits.as_bytes()[..MessageId::LEN]);
        MessageId::from_bytes(id)
    }

    fn alarm(&mut self, delay: Duration, alarm: Alarm) {
        self.alarms.push((Instant::now() + delay, alarm));
    }

    fn with_client(&mut self, connection: usize, change: impl FnOnce(&mut Client)) {
        if let Some(client) = self.clients.get_mut(&connection) {
            change(client);
        }
    }

    fn put(&mut self, connection: usize, output: Output) {
        if let Some(client) = self.clients.get(&connection) {
            // The connection may be ending.
            let _ = client.outputs.send(output);
        }
    }
}

/// As asked for in an IDENTIFY; `None` where it was switched off.
fn heartbeat_interval(identify: &[u8]) -> Option<Duration> {
    let asked: serde_json::Value = serde_json::from_slice(identify).ok()?;
    match asked["heartbeat_interval"].as_i64() {
        Some(millis) if millis < 0 => None,
        None | Some(0) => Some(DEFAULT_HEARTBEAT),
        Some(millis) => Some(Duration::from_millis(millis.unsigned_abs())),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
