//! How `max_in_flight` is shared out among connections: a pure value with the time handed in.
//!
//! nsqd's RDY is a standing limit on the unanswered messages of one connection. The sum over all
//! connections must not pass `max_in_flight`, not even while shares move: a lowered RDY takes effect only
//! when nsqd has read it, and what it sent before that counts. So a connection keeps *exposing* its old
//! share for a settling time, one that was lost as well, and what another is raised by comes out of what nobody
//! exposes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Names a connection; never used again for another.
pub(super) type ConnectionId = u64;

/// A change of RDY to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) connection: ConnectionId,
    pub(super) rdy: u32,
}

/// How much of `max_in_flight` may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// All.
    Open,
    /// One, by somebody.
    Test,
    /// None.
    Closed,
}

/// Who has which share of `max_in_flight`.
#[derive(Debug)]
pub(super) struct Shares {
    max_in_flight: u32,
    gate: Gate,
    settling_time: Duration,
    /// How long an idle connection keeps a slot while others have none.
    idle_turn: Duration,
    /// How long a busy connection keeps a slot while others have none.
    busy_turn: Duration,
    /// With more connections than slots, those in front have one.
    ring: VecDeque<Share>,
    /// Shares of connections that were lost, and until when: nsqd may have closed its side, or not heard of ours, and
    /// still count their messages as in flight.
    lost: VecDeque<(u32, Instant)>,
}

#[derive(Debug)]
struct Share {
    id: ConnectionId,
    /// The largest RDY this nsqd takes.
    max_rdy: u32,
    /// As last sent.
    rdy: u32,
    in_flight: u32,
    /// Messages ever received.
    received: u64,
    /// Earlier shares that nsqd may still be acting on, and until when; the oldest first.
    lowered_from: VecDeque<(u32, Instant)>,
    /// Since when it has had a slot without giving it to a message.
    idle_since: Instant,
    /// Since when it has had a slot.
    granted_at: Instant,
}

// === impl Shares ===

impl Shares {
    pub(super) fn new(
        max_in_flight: u32,
        settling_time: Duration,
        idle_turn: Duration,
        busy_turn: Duration,
    ) -> Self {
        Self {
            max_in_flight,
            gate: Gate::Open,
            settling_time,
            idle_turn,
            busy_turn,
            ring: VecDeque::new(),
            lost: VecDeque::new(),
        }
    }

    pub(super) fn add(&mut self, id: ConnectionId, max_rdy: u32, now: Instant) {
        self.ring.push_back(Share {
            id,
            max_rdy,
            rdy: 0,
            in_flight: 0,
            received: 0,
            lowered_from: VecDeque::new(),
            idle_since: now,
            granted_at: now,
        });
    }

    pub(super) fn remove(&mut self, id: ConnectionId, now: Instant) {
        let Some(place) = self.ring.iter().position(|share| share.id == id) else {
            return;
        };
        if let Some(share) = self.ring.remove(place) {
            self.lost.push_back((share.exposure(), now + self.settling_time));
        }
    }

    pub(super) fn set_max_in_flight(&mut self, max_in_flight: u32) {
        self.max_in_flight = max_in_flight;
    }

    pub(super) fn set_gate(&mut self, gate: Gate) {
        self.gate = gate;
    }

    /// Chooses who gets the one slot of a [`Gate::Test`]: anyone, by a random number, but rather one without
    /// old messages, as those would keep nsqd from sending it a new one.
    pub(super) fn begin_test(&mut self, random: u32) {
        let ring = std::mem::take(&mut self.ring);
        let (mut free, busy): (VecDeque<Share>, VecDeque<Share>) =
            ring.into_iter().partition(|share| share.in_flight == 0);
        if !free.is_empty() {
            free.rotate_left(random as usize % free.len());
        }
        free.extend(busy);
        self.ring = free;
    }

    /// Tells how many messages of a connection are unanswered, and how many it has ever received.
    pub(super) fn observe(&mut self, id: ConnectionId, in_flight: u32, received: u64, now: Instant) {
        let Some(share) = self.ring.iter_mut().find(|share| share.id == id) else {
            return;
        };
        if in_flight > 0 || share.in_flight > 0 || received != share.received {
            share.idle_since = now;
        }
        share.in_flight = in_flight;
        share.received = received;
    }

    /// The changes to be sent now. They count as sent.
    pub(super) fn rebalance(&mut self, now: Instant) -> Vec<Change> {
        for share in &mut self.ring {
            while share.lowered_from.front().is_some_and(|&(_, until)| until <= now) {
                share.lowered_from.pop_front();
            }
        }
        while self.lost.front().is_some_and(|&(_, until)| until <= now) {
            self.lost.pop_front();
        }
        self.rotate(now);
        let targets = self.targets();
        let mut changes = Vec::new();
        for (share, &target) in self.ring.iter_mut().zip(&targets) {
            if target < share.rdy {
                share.lower(target, now + self.settling_time);
                changes.push(Change {
                    connection: share.id,
                    rdy: target,
                });
            }
        }
        let exposed = self.ring.iter().map(Share::exposure);
        let lost = self.lost.iter().map(|&(exposure, _)| exposure);
        let exposed: u32 = exposed.chain(lost).fold(0, u32::saturating_add);
        let mut free = self.max_in_flight.saturating_sub(exposed);
        let crowded = self.is_crowded();
        for (share, &target) in self.ring.iter_mut().zip(&targets) {
            let exposure = share.exposure();
            let affordable = target.min(exposure.saturating_add(free));
            if affordable > share.rdy {
                free -= affordable.saturating_sub(exposure);
                share.raise(affordable, now);
                changes.push(Change {
                    connection: share.id,
                    rdy: affordable,
                });
            }
            if crowded && share.rdy < target {
                // Those behind could be raised again for nothing, out of what they still expose, and if they
                // were, one round after the other, this one's turn would never come.
                break;
            }
        }
        changes
    }

    /// When [`Shares::rebalance`] may find something to do without anything else having happened.
    pub(super) fn next_change(&self) -> Option<Instant> {
        let wanting = self
            .ring
            .iter()
            .zip(self.targets())
            .any(|(share, target)| share.rdy < target);
        let settled = self
            .ring
            .iter()
            .flat_map(|share| &share.lowered_from)
            .chain(&self.lost)
            .map(|&(_, until)| until);
        let settled = if wanting { settled.min() } else { None };
        let turns = self
            .ring
            .iter()
            .filter(|share| share.rdy > 0)
            .filter_map(|share| self.turn_ends(share));
        let turn = if self.is_crowded() { turns.min() } else { None };
        settled.into_iter().chain(turn).min()
    }

    /// Whether a connection waits for a share until another's messages are answered.
    pub(super) fn waits_for_answers(&self) -> bool {
        self.ring
            .iter()
            .zip(self.targets())
            .any(|(share, target)| share.rdy < target)
    }

    fn slots(&self) -> u32 {
        match self.gate {
            Gate::Open => self.max_in_flight,
            Gate::Test => self.max_in_flight.min(1),
            Gate::Closed => 0,
        }
    }

    /// Fewer slots than connections, so that they take turns.
    fn is_crowded(&self) -> bool {
        let slots = self.slots() as usize;
        slots > 0 && slots < self.ring.len()
    }

    /// `None` where it lasts until something else happens.
    fn turn_ends(&self, share: &Share) -> Option<Instant> {
        let busy = share.granted_at + self.busy_turn;
        let idle = share.idle_since + self.idle_turn;
        match (share.in_flight > 0, self.gate) {
            // The test is on: its answer decides, and no second message is to be taken meanwhile.
            (true, Gate::Test) => None,
            (true, _) => Some(busy),
            (false, _) => Some(busy.min(idle)),
        }
    }

    /// Sends those whose turn is over to the back of the ring.
    fn rotate(&mut self, now: Instant) {
        if !self.is_crowded() {
            return;
        }
        let ring = std::mem::take(&mut self.ring);
        let over = |share: &Share| share.rdy > 0 && self.turn_ends(share).is_some_and(|end| end <= now);
        let (mut back, front): (VecDeque<Share>, VecDeque<Share>) = ring.into_iter().partition(over);
        for share in &mut back {
            // It may get a slot again at once; then this is a new turn.
            share.granted_at = now;
            share.idle_since = now;
        }
        self.ring = front;
        self.ring.extend(back);
    }

    /// What everyone should have, in the order of the ring.
    fn targets(&self) -> Vec<u32> {
        let limits: Vec<u32> = self.ring.iter().map(|share| share.max_rdy).collect();
        fair_shares(self.slots(), &limits)
    }
}

// === impl Share ===

impl Share {
    /// The most messages of this connection that can be unanswered, for all we know.
    fn exposure(&self) -> u32 {
        let lowered = self.lowered_from.iter().map(|&(rdy, _)| rdy).max().unwrap_or(0);
        self.rdy.max(self.in_flight).max(lowered)
    }

    fn lower(&mut self, rdy: u32, settled_at: Instant) {
        self.lowered_from.push_back((self.rdy, settled_at));
        self.rdy = rdy;
    }

    fn raise(&mut self, rdy: u32, now: Instant) {
        if self.rdy == 0 {
            self.granted_at = now;
            self.idle_since = now;
        }
        self.rdy = rdy;
    }
}

/// Splits `total` evenly, within everyone's limit; what cannot be split evenly goes to those in front.
fn fair_shares(total: u32, limits: &[u32]) -> Vec<u32> {
    let mut shares = vec![0; limits.len()];
    let mut left = total;
    let mut open: Vec<usize> = (0..limits.len()).collect();
    while !open.is_empty() {
        let even = left / open.len() as u32;
        let (full, rest): (Vec<usize>, Vec<usize>) = open.iter().partition(|&&index| limits[index] <= even);
        if full.is_empty() {
            // Everyone left can take one more than the even share.
            let remainder = left as usize % rest.len();
            for (position, &index) in rest.iter().enumerate() {
                shares[index] = even + u32::from(position < remainder);
            }
            break;
        }
        for &index in &full {
            shares[index] = limits[index];
            left -= limits[index];
        }
        open = rest;
    }
    shares
}

#[cfg(test)]
mod tests;
