//! What a mock does by itself, and what it was told to do otherwise: shared by its handles and connections.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep_until;

use super::client_command::{ClientCommand, Recorded, Verb};
use super::mock_message::MockMessage;
use super::reply::Reply;
use super::wire::Output;
use crate::consumer::MessageId;
use channel::{Alarm, State};

mod channel;

/// What a mock tells in its answer to IDENTIFY, and goes by. Of what the client asks for there, it looks
/// only at the heartbeat interval.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MockSettings {
    /// The largest RDY it takes. Default 2500, nsqd's own.
    pub max_rdy_count: u32,
    /// How long it waits for the answer to a message. Default 60 s, nsqd's own.
    pub msg_timeout: Duration,
    /// How long touching can stretch that, counted from the delivery. Default 15 min, nsqd's own.
    pub max_msg_timeout: Duration,
    /// Sends no heartbeats, so that clients think it dead. One that was due and not sent is the last.
    /// Default no.
    pub silent: bool,
}

#[derive(Debug)]
pub(super) struct Behavior {
    state: Mutex<State>,
    /// How many commands were recorded.
    count: watch::Sender<usize>,
}

// === impl MockSettings ===

impl Default for MockSettings {
    fn default() -> Self {
        Self {
            max_rdy_count: 2500,
            msg_timeout: Duration::from_secs(60),
            max_msg_timeout: Duration::from_secs(15 * 60),
            silent: false,
        }
    }
}

// === impl Behavior ===

impl Default for Behavior {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }
}

impl Behavior {
    pub(super) fn connect(&self) -> (usize, mpsc::UnboundedReceiver<Output>) {
        let (sender, outputs) = mpsc::unbounded_channel();
        (self.lock().connect(sender), outputs)
    }

    pub(super) fn disconnected(&self, connection: usize) {
        self.lock().clients.remove(&connection);
    }

    /// A command has arrived.
    pub(super) fn take(self: &Arc<Self>, connection: usize, command: ClientCommand) {
        let recorded = self.change(|state| {
            state.take(connection, command);
            state.recorded.len()
        });
        self.count.send_replace(recorded);
    }

    pub(super) fn configure(&self, change: impl FnOnce(&mut MockSettings)) {
        change(&mut self.lock().settings);
    }

    pub(super) fn publish(self: &Arc<Self>, message: MockMessage) -> MessageId {
        self.change(|state| state.publish(message))
    }

    pub(super) fn answer_next(&self, verb: Verb, reply: Reply) {
        self.lock().next.entry(verb).or_default().push_back(reply);
    }

    pub(super) fn answer_always(&self, verb: Verb, reply: Reply) {
        self.lock().always.insert(verb, reply);
    }

    pub(super) fn send_to_all(self: &Arc<Self>, reply: &Reply) {
        self.change(|state| {
            let connections: Vec<usize> = state.clients.keys().copied().collect();
            for connection in connections {
                state.send(connection, reply);
            }
        });
    }

    pub(super) fn refuse(&self, refuse: bool) {
        self.lock().refusing = refuse;
    }

    pub(super) fn refuses(&self) -> bool {
        self.lock().refusing
    }

    pub(super) async fn recorded_at(&self, index: usize) -> Recorded {
        let mut count = self.count.subscribe();
        loop {
            // The sender is a field of ours, so waiting cannot fail; then there is nothing to wait for.
            let _ = count.wait_for(|&count| count > index).await;
            if let Some(recorded) = self.lock().recorded.get(index) {
                return recorded.clone();
            }
        }
    }

    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.lock().recorded.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.lock().clients.len()
    }

    pub(super) fn accepted(&self) -> usize {
        self.lock().accepted
    }

    pub(super) fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().live_in_flight()
    }

    pub(super) fn most_in_flight(&self) -> usize {
        self.lock().most_in_flight
    }

    /// Changes the state, delivers what can be delivered then, and sets the alarms that were asked for.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        state.deliver();
        for (at, alarm) in std::mem::take(&mut state.alarms) {
            let behavior = self.clone();
            tokio::spawn(async move {
                sleep_until(at).await;
                behavior.ring(alarm);
            });
        }
        result
    }

    fn ring(self: &Arc<Self>, alarm: Alarm) {
        self.change(|state| state.ring(alarm));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
