//! How loaded an endpoint is, as far as its caller can see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The time in which what is known of an endpoint's latency loses its weight (to 1/e).
///
/// Short, because the pick compares what is in flight, too, and because an endpoint that was slow must be tried
/// again within seconds of its being well.
const MEMORY: Duration = Duration::from_millis(500);

/// A failure counts as at least so long a call: an endpoint that fails at once must not look like a quick one.
const LEAST_PENALTY: f64 = 10_000.0;
/// However often an endpoint fails, it does not look slower than this.
const LARGEST_PENALTY: f64 = 5_000_000.0;

/// The load of one endpoint: what is in flight, for how long it has been waiting, and how long calls take.
///
/// All in atomics, read by every pick and written twice a call. Times are microseconds since `base`.
#[derive(Debug)]
pub(crate) struct Load {
    base: Instant,
    /// Calls that have begun and whose responses have not ended.
    in_flight: AtomicU32,
    /// Calls that wait for the headers of their response.
    waiting: AtomicU32,
    /// The sum of the times at which those that wait have begun; wraps.
    began: AtomicU64,
    /// The average latency ([`Latency`]), packed.
    latency: AtomicU64,
    /// When the endpoint was last found well again, for its ramp; 0 for never.
    ramp_from: AtomicU64,
}

/// A peak-sensitive average of the latency, in microseconds, and the time in milliseconds at which it was that.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Latency {
    micros: f32,
    at: u32,
}

/// A call in flight. Dropped, it is over.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Arc<Load>,
    began: u64,
    waits: bool,
}

// === impl Load ===

impl Load {
    pub(crate) fn new(base: Instant) -> Self {
        Self {
            base,
            in_flight: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            began: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            ramp_from: AtomicU64::new(0),
        }
    }

    /// What a call more would cost here, in microseconds of waiting: the usual latency for it and for each that is
    /// in flight, and the time for which those that wait have waited already. The last is what makes an endpoint
    /// that has stopped answering repel before its first timeout.
    ///
    /// Within `ramp` of having been found well, an endpoint counts as more loaded than it is, at most tenfold, so
    /// that it is not flooded.
    pub(crate) fn cost(&self, now: Instant, ramp: Duration) -> f64 {
        let micros = self.micros(now);
        let in_flight = f64::from(self.in_flight.load(Ordering::Relaxed));
        let latency = self.latency(micros);
        // One microsecond, so that what is in flight matters before a latency is known.
        let cost = (latency + 1.0) * (in_flight + 1.0) + self.age(micros);
        cost * self.ramp(micros, ramp)
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How far its ramp is, 0.1 to 1; 1 where there is none.
    pub(crate) fn ramped(&self, now: Instant, ramp: Duration) -> f64 {
        1.0 / self.ramp(self.micros(now), ramp)
    }

    /// The average latency as it weighs now.
    pub(crate) fn latency_now(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.latency(self.micros(now)) / 1e6)
    }

    /// The endpoint was found well: it ramps up from now on.
    pub(crate) fn ramp_up(&self, now: Instant) {
        self.ramp_from.store(self.micros(now).max(1), Ordering::Relaxed);
        // What was learned of it while it was unwell no longer holds.
        self.latency.store(0, Ordering::Relaxed);
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>, now: Instant) -> InFlight {
        let began = self.micros(now);
        // In this order, so that a reader between them sees too little and not too much.
        self.began.fetch_add(began, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Release);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight {
            load: self.clone(),
            began,
            waits: true,
        }
    }

    /// The time for which all that wait for headers have been waiting, in microseconds.
    fn age(&self, micros: u64) -> f64 {
        let waiting = self.waiting.load(Ordering::Acquire);
        if waiting == 0 {
            return 0.0;
        }
        let began = self.began.load(Ordering::Relaxed);
        let age = u64::from(waiting).wrapping_mul(micros).wrapping_sub(began);
        // A call that began while we were reading makes it negative.
        if age > u64::MAX / 2 { 0.0 } else { age as f64 }
    }

    fn latency(&self, micros: u64) -> f64 {
        let latency = Latency::unpack(self.latency.load(Ordering::Relaxed));
        latency.at_time(millis(micros))
    }

    /// A call was answered after so long: a longer one than the average becomes the average at once, a shorter one
    /// draws it down by the time that has gone by.
    fn answered(&self, began: u64, now: u64) {
        let took = now.saturating_sub(began) as f64;
        let at = millis(now);
        let latency = Latency::unpack(self.latency.load(Ordering::Relaxed));
        let decayed = latency.at_time(at);
        let micros = if took > decayed {
            took
        } else {
            // Calls that come close together count for little each, so that a burst does not make the average.
            let weight = latency.weight(at).min(0.9);
            took + (f64::from(latency.micros) - took) * weight
        };
        self.store(micros.min(decayed.max(took)), at);
    }

    /// A call was given up after so long without an answer: it would have taken longer. A shorter time than the
    /// average says nothing.
    fn given_up(&self, began: u64, now: u64) {
        let took = now.saturating_sub(began) as f64;
        let at = millis(now);
        let latency = Latency::unpack(self.latency.load(Ordering::Relaxed));
        if took > latency.at_time(at) {
            self.store(took, at);
        }
    }

    /// A call failed: the average never falls by it, and at least doubles.
    fn failed(&self, began: u64, now: u64) {
        let took = now.saturating_sub(began) as f64;
        let at = millis(now);
        let latency = Latency::unpack(self.latency.load(Ordering::Relaxed));
        let doubled = (2.0 * latency.at_time(at)).clamp(LEAST_PENALTY, LARGEST_PENALTY);
        self.store(doubled.max(took).max(f64::from(latency.micros)), at);
    }

    /// Of two that store at once, one is lost. That is one sample of many.
    fn store(&self, micros: f64, at: u32) {
        let micros = micros as f32;
        self.latency
            .store(Latency { micros, at }.pack(), Ordering::Relaxed);
    }

    fn ramp(&self, micros: u64, ramp: Duration) -> f64 {
        let from = self.ramp_from.load(Ordering::Relaxed);
        if from == 0 {
            return 1.0;
        }
        let ramp = ramp.as_micros() as f64;
        let passed = micros.saturating_sub(from) as f64;
        if passed >= ramp {
            return 1.0;
        }
        1.0 / (passed / ramp).max(0.1)
    }

    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.base).as_micros() as u64
    }
}

fn millis(micros: u64) -> u32 {
    // Wraps after 49 days, and so does the difference that is taken of it.
    (micros / 1_000) as u32
}

// === impl Latency ===

impl Latency {
    fn pack(self) -> u64 {
        u64::from(self.micros.to_bits()) << 32 | u64::from(self.at)
    }

    fn unpack(packed: u64) -> Self {
        Self {
            micros: f32::from_bits((packed >> 32) as u32),
            at: packed as u32,
        }
    }

    /// What is left of its weight.
    fn weight(self, at: u32) -> f64 {
        let passed = f64::from(at.wrapping_sub(self.at));
        (-passed / MEMORY.as_millis() as f64).exp()
    }

    fn at_time(self, at: u32) -> f64 {
        if self.micros == 0.0 {
            return 0.0;
        }
        f64::from(self.micros) * self.weight(at)
    }
}

// === impl InFlight ===

impl InFlight {
    /// The headers of the response have come, and said nothing bad.
    pub(crate) fn answered(&mut self, now: Instant) {
        if self.stop_waiting() {
            let load = &self.load;
            load.answered(self.began, load.micros(now));
        }
    }

    /// The call has failed, for a reason of the endpoint's.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.stop_waiting();
        let load = &self.load;
        load.failed(self.began, load.micros(now));
    }

    fn stop_waiting(&mut self) -> bool {
        let waited = std::mem::replace(&mut self.waits, false);
        if waited {
            let load = &self.load;
            load.waiting.fetch_sub(1, Ordering::Release);
            load.began.fetch_sub(self.began, Ordering::Relaxed);
        }
        waited
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Its caller went away, or another try beside it was answered first: an endpoint that has stopped answering
        // must not become attractive by every call that it has lost.
        if self.stop_waiting() {
            let load = &self.load;
            load.given_up(self.began, load.micros(Instant::now()));
        }
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const NO_RAMP: Duration = Duration::ZERO;

    fn load() -> (Arc<Load>, Instant) {
        let base = Instant::now();
        (Arc::new(Load::new(base)), base)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_flight_costs() {
        let (load, now) = load();
        let mut before = load.cost(now, NO_RAMP);
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(load.begin(now));
            let cost = load.cost(now, NO_RAMP);
            assert!(cost > before, "{cost} after {before}");
            before = cost;
        }
        drop(calls);
        assert_eq!(load.in_flight(), 0);
        assert_eq!(load.cost(now, NO_RAMP), 1.0);
    }

    #[test]
    fn a_call_without_an_answer_repels_more_the_longer_it_waits() {
        let (frozen, now) = load();
        let (busy, _) = load();
        let _hanging = frozen.begin(now);
        let mut calls: Vec<_> = (0..5).map(|_| busy.begin(now)).collect();
        let later = now + ms(10);
        calls.iter_mut().for_each(|call| call.answered(later));
        // Five answered in 10 ms and still streaming are cheaper than one that has not been answered for 200 ms.
        let later = now + ms(200);
        assert!(busy.cost(later, NO_RAMP) < frozen.cost(later, NO_RAMP));
        assert!(frozen.cost(now + ms(400), NO_RAMP) > 1.9 * frozen.cost(later, NO_RAMP));
    }

    #[test]
    fn failures_never_lower_a_load() {
        let (load, now) = load();
        let mut call = load.begin(now);
        call.answered(now + ms(30));
        drop(call);
        let mut at = now + ms(30);
        let mut before = load.cost(at, NO_RAMP);
        for _ in 0..20 {
            let mut call = load.begin(at);
            call.failed(at);
            drop(call);
            let cost = load.cost(at, NO_RAMP);
            assert!(cost >= before, "{cost} after {before}");
            before = cost;
            at += ms(1);
        }
        assert!(
            before >= 1e6,
            "an endpoint that fails at once looks slow: {before}"
        );
        assert!(before <= 2.0 * LARGEST_PENALTY);
    }

    #[test]
    fn what_was_slow_is_tried_again_after_seconds() {
        let (load, now) = load();
        let mut call = load.begin(now);
        call.answered(now + ms(2_000));
        drop(call);
        assert!(load.cost(now + ms(2_000), NO_RAMP) > 1.9e6);
        assert!(load.cost(now + ms(6_000), NO_RAMP) < 1_000.0);
    }

    #[test]
    fn an_average_follows_a_longer_call_at_once_and_shorter_ones_slowly() {
        let (load, now) = load();
        let took = |began: u64, time: u64| {
            let mut call = load.begin(now + ms(began));
            call.answered(now + ms(began + time));
            drop(call);
            load.latency_now(now + ms(began + time)).as_secs_f64() * 1e3
        };
        assert!(took(0, 10) >= 9.9);
        assert!(took(10, 100) >= 99.0);
        let after_one = took(110, 1);
        assert!((80.0..100.0).contains(&after_one), "{after_one}");
        let mut last = after_one;
        for call in 1..200 {
            last = took(110 + 10 * call, 1);
        }
        assert!(last < 5.0, "{last}");
    }

    #[test]
    fn an_endpoint_that_is_well_again_ramps_up() {
        let (load, now) = load();
        let ramp = ms(2_000);
        load.ramp_up(now + ms(1));
        let cost_at = |millis: u64| load.cost(now + ms(1 + millis), ramp);
        assert!((9.9..=10.1).contains(&cost_at(0)));
        assert!((1.9..=2.1).contains(&cost_at(1_000)));
        assert_eq!(cost_at(2_000), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_goes_away_at_once_leaves_no_trace() {
        let (load, now) = load();
        for _ in 0..100 {
            drop(load.begin(now));
        }
        assert_eq!(load.cost(now + ms(100), NO_RAMP), 1.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_has_shown_how_long_it_waited() {
        let (load, now) = load();
        let given_up = load.begin(now);
        tokio::time::advance(ms(50)).await;
        drop(given_up);
        let now = now + ms(50);
        assert_eq!(load.latency_now(now), ms(50));
        let given_up = load.begin(now);
        tokio::time::advance(ms(5)).await;
        drop(given_up);
        let latency = load.latency_now(now + ms(5));
        assert!(
            latency > ms(49) && latency < ms(50),
            "a shorter time does not lower it: {latency:?}"
        );
    }
}
