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

fn every_order(test: impl Fn() + Send + Sync + 'static) {
    shuttle::check_random(test, SCHEDULES);
}

fn on_threads(circuit: &Arc<Circuit>, works: Vec<Box<dyn FnOnce(&Circuit) + Send>>) {
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

#[test]
fn no_failure_is_lost() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(3));
        let fails = || -> Box<dyn FnOnce(&Circuit) + Send> {
            Box::new(|circuit| {
                circuit.call(Outcome::Failure, circuit.start);
            })
        };
        on_threads(&circuit, vec![fails(), fails(), fails()]);
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

#[test]
fn a_failure_after_all_successes_is_counted_and_one_success_after_it_clears_it() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(2));
        on_threads(
            &circuit,
            vec![
                Box::new(|circuit| {
                    circuit.call(Outcome::Success, circuit.start);
                    circuit.call(Outcome::Failure, circuit.start);
                    // Whatever the other thread does, this success comes after this failure.
                    circuit.call(Outcome::Success, circuit.start);
                    circuit.call(Outcome::Failure, circuit.start);
                }),
                Box::new(|circuit| {
                    circuit.call(Outcome::Ignored, circuit.start);
                    circuit.call(Outcome::Success, circuit.start);
                    circuit.call(Outcome::Overload, circuit.start);
                }),
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
fn a_success_from_before_the_break_never_closes_it() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(1));
        on_threads(
            &circuit,
            vec![
                Box::new(|circuit| {
                    circuit.call(Outcome::Success, circuit.start);
                }),
                Box::new(|circuit| {
                    circuit.call(Outcome::Failure, circuit.start);
                }),
                Box::new(|circuit| {
                    circuit.call(Outcome::Success, circuit.start);
                }),
            ],
        );
        assert_eq!(circuit.state(), CircuitState::Open);
    });
}

#[test]
fn at_most_one_trial_is_under_way_at_a_time() {
    every_order(|| {
        let circuit = Arc::new(Circuit::new(1));
        circuit.call(Outcome::Failure, circuit.start);
        let running = Arc::new(AtomicUsize::new(0));
        let trials = Arc::new(AtomicUsize::new(0));
        let tries = |outcome: Outcome| -> Box<dyn FnOnce(&Circuit) + Send> {
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
        on_threads(
            &circuit,
            vec![
                tries(Outcome::Ignored),
                tries(Outcome::Failure),
                tries(Outcome::Success),
            ],
        );
        assert!(trials.load(Ordering::SeqCst) >= 1);
        // And whichever came last: the circuit is not wedged.
        let settled = circuit.call(Outcome::Success, circuit.start + 60 * SECOND);
        assert_eq!(settled, Some(Settled::Counted));
        assert_eq!(circuit.state(), CircuitState::Closed);
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
