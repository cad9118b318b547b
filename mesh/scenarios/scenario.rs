//! What a scenario is.

use std::time::Duration;

use crate::network::Network;
use crate::server::{Manner, Server};

/// A trouble with a name.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// What happens.
    pub(crate) story: &'static str,
    /// What is to be seen in its table.
    pub(crate) lesson: &'static str,
    /// For how long calls come.
    pub(crate) length: Duration,
    /// Calls a second, on average; they come independently of each other.
    pub(crate) rate: f64,
    /// So many calls more, all at this moment.
    pub(crate) spike: Option<(Duration, usize)>,
    pub(crate) script: Vec<Step>,
}

/// What happens to a server, and when.
pub(crate) struct Step {
    pub(crate) at: Duration,
    /// Counted from 0.
    pub(crate) server: usize,
    pub(crate) turn: Turn,
}

#[derive(Clone, Copy)]
pub(crate) enum Turn {
    Behave(Manner),
    /// The network swallows all that goes to and from it.
    Swallow,
    /// The network no longer does.
    Deliver,
    Stop,
    Start,
}

// === impl Step ===

impl Step {
    pub(crate) fn take(&self, servers: &[Server], network: &Network) {
        let server = &servers[self.server];
        match self.turn {
            Turn::Behave(manner) => server.set(manner),
            Turn::Swallow => network.swallow(self.server, true),
            Turn::Deliver => network.swallow(self.server, false),
            Turn::Stop => server.stop(),
            Turn::Start => server.listen(),
        }
    }
}
