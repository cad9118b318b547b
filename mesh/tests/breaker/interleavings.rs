//! The gate under every order of threads that a model checker tries: the file itself, compiled against the
//! checker's atomics and locks, with the real state machine behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safelight_mesh::breaker::{Admission, Breaker, CircuitState, Outcome, Policy, Settled};
use tokio::time::Instant;

/// What the gate finds in the place of the library's.
mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
}

#[allow(dead_code)]
#[path = "../../src/breaker/gate.rs"]
mod gate;

use gate::{Gate, Gated};

impl Gated for Breaker {
    fn generation(&self) -> u64 {
        self.generation()
    }

    fn passes_freely(&self) -> bool {
        self.state() == CircuitState::Closed
    }

    fn is_clear(&self) -> bool {
        self.is_clear()
    }
}

/// A circuit without clock and metrics: the same steps in the same order. Time stands still unless a test says.
struct Circuit {
    gate: Gate<Breaker>,
    start: Instant,
}

const SECOND: Duration = Duration::from_secs(1);
const SCHEDULES: usize = 20_000;

impl Circuit {
    fn new(consecutive_failures: u32) -> Self {
        let start = Instant::now();
        let policy = Policy {
            consecutive_failures,
            open_jitter: 0.0,
            ..Policy::default()
        };
        Self {
            gate: Gate::new(Breaker::new(policy, start)),
            start,
        }
    }

    fn admit(&self, now: Instant) -> Option<Admission> {
        if let Some(generation) = self.gate.pass() {
            return Some(Admission { generation });
        }
        self.gate.open().admit(now).ok()
    }

    fn settle(&self, admission: Admission, outcome: Outcome, now: Instant) -> Settled {
        let changes_nothing = match outcome {
            Outcome::Success => self.gate.is_clear_since(admission.generation),
            Outcome::Failure => false,
            Outcome::Overload | Outcome::Ignored => self.gate.is_free_since(admission.generation),
        };
        if changes_nothing {
            return Settled::Counted;
        }
        self.gate.open().settle(admission, outcome, now)
    }

    fn call(&self, outcome: Outcome, now: Instant) -> Option<Settled> {
        let admission = self.admit(now)?;
        Some(self.settle(admission, outcome, now))
    }

    fn state(&self) -> CircuitState {
        self.gate.open().state()
    }

    /// The word says what the machine is: whoever comes next, with or without the lock, sees the same.
    fn assert_whole(&self) {
        let machine = self.gate.open();
        let generation = machine.generation();
        let closed = machine.state() == CircuitState::Closed;
        assert_eq!(self.gate.pass(), closed.then_some(generation));
        assert_eq!(self.gate.is_clear_since(generation), machine.is_clear());
    }
}

/// All of them, one after another. For two threads of a few steps.
fn every_order(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_dfs(test, None);
}

/// As many as fit, drawn by chance. For more threads or steps.
fn many_orders(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
}

fn on_threads(circuit: &Arc<Circuit>, works: Vec<Work>) {
    let threads: Vec<_> = works
        .into_iter()
        .map(|work| {
            let circuit = circuit.clone();
            shuttle::thread::spawn(move || work(&circuit))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    circuit.assert_whole();
}

type Work = Box<dyn FnOnce(&Circuit) + Send>;

/// One call after another, with these outcomes.
fn calls<const N: usize>(outcomes: [Outcome; N]) -> Work {
    Box::new(move |circuit| {
        for outcome in outcomes {
            circuit.call(outcome, circuit.start);
        }
    })
}

#[test]
fn no_failure_of_two_threads_is_lost() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(2));
        on_threads(
            &circuit,
            vec![calls([Outcome::Failure]), calls([Outcome::Failure])],
        );
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

#[test]
fn no_failure_of_three_threads_is_lost_among_calls_that_say_nothing() {
    many_orders(|| {
        let circuit = Arc::new(Circuit::new(6));
        let fails = || calls([Outcome::Failure, Outcome::Ignored, Outcome::Failure]);
        on_threads(&circuit, vec![fails(), fails(), fails()]);
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

#[test]
fn a_success_before_a_failure_does_not_take_it_back() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(3));
        on_threads(
            &circuit,
            vec![
                calls([Outcome::Success, Outcome::Failure]),
                calls([Outcome::Failure]),
            ],
        );
        let failures = circuit.gate.open().failures();
        assert!((1..=2).contains(&failures), "{failures}");
    });
}

#[test]
fn a_success_takes_back_every_failure_before_it() {
    many_orders(|| {
        let circuit = Arc::new(Circuit::new(2));
        on_threads(
            &circuit,
            vec![
                // Whatever the other thread does, each success here comes after the failure before it.
                calls([
                    Outcome::Success,
                    Outcome::Failure,
                    Outcome::Success,
                    Outcome::Failure,
                ]),
                calls([Outcome::Ignored, Outcome::Success, Outcome::Overload]),
            ],
        );
        let machine = circuit.gate.open();
        assert_eq!(
            machine.state(),
            CircuitState::Closed,
            "never were there two failures in a row"
        );
        assert!(machine.failures() <= 1);
    });
}

#[test]
fn a_success_beside_the_last_failure_never_closes_the_circuit() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(1));
        on_threads(
            &circuit,
            vec![
                calls([Outcome::Success, Outcome::Success]),
                calls([Outcome::Failure]),
            ],
        );
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

/// Lets these threads try an open circuit whose break is over.
fn try_at_once<const N: usize>(outcomes: [Outcome; N]) {
    let circuit = Arc::new(Circuit::new(1));
    circuit.call(Outcome::Failure, circuit.start);
    let running = Arc::new(AtomicUsize::new(0));
    let trials = Arc::new(AtomicUsize::new(0));
    let tries = |outcome: Outcome| -> Work {
        let (running, trials) = (running.clone(), trials.clone());
        Box::new(move |circuit| {
            let now = circuit.start + SECOND;
            let Some(admission) = circuit.admit(now) else {
                return;
            };
            if circuit.gate.is_free_since(admission.generation) {
                return; // A trial has closed it; this one is a call like any.
            }
            trials.fetch_add(1, Ordering::SeqCst);
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two trials at once");
            shuttle::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            circuit.settle(admission, outcome, now);
        })
    };
    on_threads(&circuit, outcomes.map(tries).into());
    assert!(trials.load(Ordering::SeqCst) >= 1);
    // And whichever came last: the circuit is not wedged.
    let settled = circuit.call(Outcome::Success, circuit.start + 60 * SECOND);
    assert_eq!(settled, Some(Settled::Counted));
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[test]
fn of_two_threads_one_makes_the_trial() {
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Ignored] {
        every_order(move || try_at_once([outcome, Outcome::Success]));
    }
}

#[test]
fn of_many_threads_one_at_a_time_makes_the_trial() {
    many_orders(|| {
        try_at_once([
            Outcome::Ignored,
            Outcome::Failure,
            Outcome::Success,
            Outcome::Ignored,
        ])
    });
}

#[test]
fn an_order_is_not_undone_by_results_of_calls_from_before_it() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(1));
        on_threads(
            &circuit,
            vec![
                Box::new(|circuit| {
                    circuit.call(Outcome::Failure, circuit.start);
                    circuit.call(Outcome::Success, circuit.start + SECOND);
                }),
                Box::new(|circuit| {
                    circuit.gate.open().force_open(circuit.start);
                    assert!(circuit.admit(circuit.start + 3600 * SECOND).is_none());
                }),
            ],
        );
        let machine = circuit.gate.open();
        assert!(machine.is_forced() && machine.state() == CircuitState::Open);
    });
}
