#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const SETTLING: Duration = Duration::from_millis(100);
const IDLE_TURN: Duration = Duration::from_millis(100);
const BUSY_TURN: Duration = Duration::from_secs(5);

fn shares(max_in_flight: u32) -> Shares {
    Shares::new(max_in_flight, SETTLING, IDLE_TURN, BUSY_TURN)
}

fn rdys(shares: &Shares) -> Vec<u32> {
    let mut by_id: Vec<_> = shares.ring.iter().map(|share| (share.id, share.rdy)).collect();
    by_id.sort_unstable();
    by_id.into_iter().map(|(_, rdy)| rdy).collect()
}

/// Rebalances until nothing changes any more, with the time that takes.
fn settle(shares: &mut Shares, mut now: Instant) -> Instant {
    shares.rebalance(now);
    now += SETTLING;
    shares.rebalance(now);
    now
}

/// An nsqd that is as slow as a settling time allows, and as eager as its RDY allows: for half of the time
/// it acts on any RDY it was sent before, and for the other half its messages are on their way.
#[derive(Debug)]
struct EagerNsqd {
    id: ConnectionId,
    sent_rdy: Vec<(Instant, u32)>,
    on_the_way: VecDeque<Instant>,
    arrived: u32,
    received: u64,
}

impl EagerNsqd {
    const LAG: Duration = Duration::from_millis(50);

    fn in_flight(&self) -> u32 {
        self.arrived + self.on_the_way.len() as u32
    }

    /// The largest RDY in effect at some moment since `LAG` ago.
    fn limit(&self, now: Instant) -> u32 {
        let ends = self
            .sent_rdy
            .iter()
            .skip(1)
            .map(|&(at, _)| at)
            .chain([now + Self::LAG]);
        let spans = self.sent_rdy.iter().map(|&(_, rdy)| rdy).zip(ends);
        spans
            .filter(|&(_, end)| end + Self::LAG >= now)
            .map(|(rdy, _)| rdy)
            .max()
            .unwrap_or(0)
    }

    fn send(&mut self, now: Instant) {
        if self.in_flight() < self.limit(now) {
            self.on_the_way.push_back(now);
        }
    }

    fn arrive(&mut self, now: Instant) {
        while self
            .on_the_way
            .front()
            .is_some_and(|&sent| sent + Self::LAG <= now)
        {
            self.on_the_way.pop_front();
            self.arrived += 1;
            self.received += 1;
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Connect {
        max_rdy: u32,
    },
    Disconnect(usize),
    /// nsqd sends this many, if it may.
    Send(usize, u32),
    /// The handler answers this many, if there are.
    Answer(usize, u32),
    Gate(Gate),
    Pass(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (1_u32..8).prop_map(|max_rdy| Event::Connect { max_rdy }),
        1 => any::<usize>().prop_map(Event::Disconnect),
        5 => (any::<usize>(), 1_u32..8).prop_map(|(nsqd, count)| Event::Send(nsqd, count)),
        4 => (any::<usize>(), 1_u32..8).prop_map(|(nsqd, count)| Event::Answer(nsqd, count)),
        1 => prop_oneof![Just(Gate::Open), Just(Gate::Test), Just(Gate::Closed)].prop_map(Event::Gate),
        5 => (0_u64..40).prop_map(Event::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_more_are_unanswered_than_allowed_however_slow_and_eager_the_nsqds(
        max_in_flight in 1_u32..12,
        events in prop::collection::vec(any_event(), 1..200),
    ) {
        let mut now = Instant::now();
        let mut shares = shares(max_in_flight);
        let mut nsqds: Vec<EagerNsqd> = Vec::new();
        let mut closing: Vec<(u32, Instant)> = Vec::new();
        let mut next_id = 0;
        for event in events {
            match event {
                Event::Connect { max_rdy } => {
                    shares.add(next_id, max_rdy, now);
                    nsqds.push(EagerNsqd {
                        id: next_id,
                        sent_rdy: Vec::new(),
                        on_the_way: VecDeque::new(),
                        arrived: 0,
                        received: 0,
                    });
                    next_id += 1;
                }
                Event::Disconnect(index) if !nsqds.is_empty() => {
                    let gone = nsqds.swap_remove(index % nsqds.len());
                    // It counts what it had until it has noticed.
                    closing.push((gone.in_flight(), now + EagerNsqd::LAG));
                    shares.remove(gone.id, now);
                }
                Event::Send(index, count) if !nsqds.is_empty() => {
                    let index = index % nsqds.len();
                    (0..count).for_each(|_| nsqds[index].send(now));
                }
                Event::Answer(index, count) if !nsqds.is_empty() => {
                    let index = index % nsqds.len();
                    nsqds[index].arrived = nsqds[index].arrived.saturating_sub(count);
                }
                Event::Gate(gate) => {
                    shares.begin_test(next_id as u32);
                    shares.set_gate(gate);
                }
                Event::Pass(millis) => now += Duration::from_millis(millis),
                _ => {}
            }
            for nsqd in &mut nsqds {
                nsqd.arrive(now);
                shares.observe(nsqd.id, nsqd.arrived, nsqd.received, now);
            }
            for change in shares.rebalance(now) {
                let nsqd = nsqds.iter_mut().find(|nsqd| nsqd.id == change.connection).unwrap();
                nsqd.sent_rdy.push((now, change.rdy));
            }
            let in_flight: u32 = nsqds.iter().map(EagerNsqd::in_flight).sum();
            closing.retain(|&(_, until)| now < until);
            let in_flight = in_flight + closing.iter().map(|&(had, _)| had).sum::<u32>();
            prop_assert!(in_flight <= max_in_flight, "{} in flight, {} allowed", in_flight, max_in_flight);
            // The driver sleeps until then: a moment that has passed would make it spin.
            prop_assert!(shares.next_change().is_none_or(|at| at > now));
        }
    }

    #[test]
    fn shares_are_even_within_everyones_limit_and_use_all_there_is(
        total in 0_u32..1000,
        limits in prop::collection::vec(0_u32..300, 0..20),
    ) {
        let shares = fair_shares(total, &limits);
        prop_assert_eq!(shares.len(), limits.len());
        let (given, possible): (u32, u32) = (shares.iter().sum(), limits.iter().sum());
        prop_assert_eq!(given, total.min(possible));
        let largest = shares.iter().max().copied().unwrap_or(0);
        for (share, limit) in shares.iter().zip(&limits) {
            prop_assert!(share <= limit);
            prop_assert!(share == limit || share + 1 >= largest, "{:?} of {:?}", shares, limits);
        }
    }

    #[test]
    fn with_more_connections_than_slots_everyone_gets_a_turn(slots in 1_u32..5, connections in 2_u64..12) {
        prop_assume!(u64::from(slots) < connections);
        let mut now = Instant::now();
        let mut shares = shares(slots);
        for id in 0..connections {
            shares.add(id, 2500, now);
        }
        let mut had_a_turn = std::collections::BTreeSet::new();
        for _ in 0..connections * 2 {
            had_a_turn.extend(shares.rebalance(now).iter().filter(|change| change.rdy > 0).map(|change| change.connection));
            now = shares.next_change().unwrap();
        }
        prop_assert_eq!(had_a_turn.len() as u64, connections);
    }

    #[test]
    fn turns_that_begin_at_odd_times_leave_nobody_out(
        pauses in prop::collection::vec(0_u64..300, 2..8),
        any in any::<u32>(),
    ) {
        let slots = 1 + any % (pauses.len() as u32 - 1);
        let mut now = Instant::now();
        let mut shares = shares(slots);
        for (id, &pause) in pauses.iter().enumerate() {
            shares.add(id as u64, 2500, now);
            let end = now + Duration::from_millis(pause);
            while now < end {
                shares.rebalance(now);
                now = shares.next_change().map_or(end, |at| at.min(end));
            }
        }
        let mut had_a_turn = std::collections::BTreeSet::new();
        // Every round takes a turn and the time until its end has settled.
        let end = now + (IDLE_TURN + SETTLING) * pauses.len() as u32;
        while now < end {
            had_a_turn.extend(shares.rebalance(now).iter().filter(|change| change.rdy > 0).map(|change| change.connection));
            now = shares.next_change().unwrap();
        }
        prop_assert_eq!(had_a_turn.len(), pauses.len());
    }
}

#[test]
fn the_remainder_is_spread_and_a_lost_share_goes_to_the_others() {
    let mut now = Instant::now();
    let mut shares = shares(10);
    for id in 0..4 {
        shares.add(id, 2500, now);
    }
    now = settle(&mut shares, now);
    assert_eq!(rdys(&shares), [3, 3, 2, 2]);
    shares.remove(0, now);
    shares.rebalance(now);
    assert_eq!(
        rdys(&shares),
        [3, 2, 2],
        "nsqd may still count what the lost one had"
    );
    let settled = shares.next_change().unwrap();
    assert_eq!(settled, now + SETTLING);
    shares.rebalance(settled);
    assert_eq!(rdys(&shares), [4, 3, 3]);
}

#[test]
fn a_newcomer_waits_until_the_old_share_has_settled_and_its_messages_are_answered() {
    let now = Instant::now();
    let mut shares = shares(10);
    shares.add(0, 2500, now);
    shares.rebalance(now);
    shares.observe(0, 8, 8, now);
    shares.add(1, 2500, now);
    shares.rebalance(now);
    assert_eq!(rdys(&shares), [5, 0], "nsqd may not have read the lowered RDY");

    let settled = shares.next_change().unwrap();
    assert_eq!(settled, now + SETTLING);
    shares.rebalance(settled);
    assert_eq!(rdys(&shares), [5, 2], "eight are still unanswered");
    assert!(shares.waits_for_answers());
    shares.observe(0, 5, 8, settled);
    shares.rebalance(settled);
    assert_eq!(rdys(&shares), [5, 5]);
    assert!(!shares.waits_for_answers());
    assert_eq!(shares.next_change(), None);
}

#[test]
fn a_pause_takes_all_shares_and_resuming_gives_them_back_at_once() {
    let now = Instant::now();
    let mut shares = shares(4);
    shares.add(0, 2500, now);
    shares.add(1, 2500, now);
    shares.rebalance(now);
    shares.set_gate(Gate::Closed);
    shares.rebalance(now);
    assert_eq!(rdys(&shares), [0, 0]);
    shares.set_gate(Gate::Open);
    shares.rebalance(now);
    assert_eq!(rdys(&shares), [2, 2]);
}

#[test]
fn a_busy_connection_keeps_its_slot_longer_than_an_idle_one() {
    let now = Instant::now();
    let mut shares = shares(1);
    shares.add(0, 2500, now);
    shares.add(1, 2500, now);
    shares.rebalance(now);
    shares.observe(0, 1, 1, now);
    assert_eq!(shares.next_change(), Some(now + BUSY_TURN));
    shares.rebalance(now + IDLE_TURN);
    assert_eq!(rdys(&shares), [1, 0]);
    // Its message is answered, and no other comes.
    let answered = now + IDLE_TURN;
    shares.observe(0, 0, 1, answered);
    shares.rebalance(answered + IDLE_TURN);
    assert_eq!(rdys(&shares), [0, 0]);
    shares.rebalance(answered + IDLE_TURN + SETTLING);
    assert_eq!(rdys(&shares), [0, 1]);
}

#[test]
fn no_share_is_over_what_an_nsqd_takes() {
    let now = Instant::now();
    let mut shares = shares(100);
    shares.add(0, 5, now);
    shares.add(1, 2500, now);
    settle(&mut shares, now);
    assert_eq!(rdys(&shares), [5, 95]);
}

#[test]
fn a_test_is_one_message_of_one_connection_that_has_no_old_ones() {
    let mut now = Instant::now();
    let mut shares = shares(9);
    for id in 0..3 {
        shares.add(id, 2500, now);
    }
    now = settle(&mut shares, now);
    shares.set_gate(Gate::Closed);
    shares.observe(0, 2, 2, now);
    now = settle(&mut shares, now);
    shares.begin_test(1);
    shares.set_gate(Gate::Test);
    shares.rebalance(now);
    assert_eq!(rdys(&shares), [0, 0, 1]);
    // Nothing comes: it is another's turn.
    now += IDLE_TURN;
    shares.rebalance(now);
    now = settle(&mut shares, now);
    assert_eq!(rdys(&shares)[2], 0);
    let tested = rdys(&shares).iter().position(|&rdy| rdy == 1).unwrap() as u64;
    // Its message is under way for long: nobody else gets one.
    shares.observe(tested, 1, 1, now);
    now += BUSY_TURN * 2;
    let before = rdys(&shares);
    shares.rebalance(now);
    assert_eq!(rdys(&shares), before);
}
