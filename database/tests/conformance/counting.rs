//! How claims, tries and waits are counted: any sequence of events against a model of a few lines.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use safelight_database::{Claim, ClaimOutcome, Fault, MAX_CLAIMS, RetryOutcome, Status, TaskKind};

use crate::back_end::{BackEnd, LONG, recognized};

const MAX_TRIES: u32 = 4;

#[derive(Debug, Clone, Copy)]
enum Event {
    Claim,
    WorkerDies,
    Complete,
    Fail,
    Retry,
    Wait,
    Interrupted,
    Release,
    Renew,
}

#[derive(Debug, Default)]
struct Model {
    claimed: bool,
    ended: bool,
    claims: u32,
    tries: u32,
    waits: u32,
}

impl Model {
    fn claim(&mut self) {
        if self.ended || self.claimed {
            return;
        }
        self.ended = self.claims == MAX_CLAIMS;
        self.claimed = !self.ended;
        self.claims += u32::from(self.claimed);
    }

    fn end(&mut self, event: Event) {
        self.claimed = matches!(event, Event::Renew);
        match event {
            Event::Claim | Event::WorkerDies | Event::Renew => {}
            Event::Complete | Event::Fail => self.ended = true,
            Event::Retry => {
                self.claims -= 1;
                self.tries += 1;
                self.ended = self.tries == MAX_TRIES;
            }
            Event::Wait => {
                self.claims -= 1;
                self.waits += 1;
            }
            Event::Interrupted => self.waits += 1,
            Event::Release => self.claims -= 1,
        }
    }
}

/// A claim, or something that happens to the one that is held.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        9 => Just(Event::Claim),
        2 => Just(Event::WorkerDies),
        1 => Just(Event::Complete),
        1 => Just(Event::Fail),
        3 => Just(Event::Retry),
        3 => Just(Event::Wait),
        2 => Just(Event::Interrupted),
        2 => Just(Event::Release),
        1 => Just(Event::Renew),
    ]
}

async fn follow(back_end: &BackEnd, events: &[Event]) {
    let path = format!("/{:032x}.jpg", rand_path());
    let image = back_end.accept(&path).await;
    let tasks = back_end.database.tasks();
    let mut model = Model::default();
    let mut held: Option<Claim> = None;

    for event in events {
        match (event, held.take()) {
            (Event::Claim, before) => {
                let outcome = tasks
                    .claim_subject(image.id, TaskKind::Identify, LONG)
                    .await
                    .unwrap();
                let was_claimed = model.claimed;
                model.claim();
                held = match outcome {
                    ClaimOutcome::Claimed(claim) => {
                        assert!(!was_claimed && model.claimed);
                        assert_eq!((claim.claims, claim.tries), (model.claims, model.tries));
                        Some(claim)
                    }
                    ClaimOutcome::NotDue { .. } => {
                        assert!(was_claimed);
                        before
                    }
                    ClaimOutcome::Ended => {
                        assert!(model.ended);
                        None
                    }
                    ClaimOutcome::Unknown => panic!("the image is gone"),
                };
            }
            (_, None) => {}
            (event, Some(claim)) => {
                model.end(*event);
                match event {
                    Event::Claim | Event::WorkerDies => {}
                    Event::Complete => tasks.complete(&claim, &recognized(&[])).await.unwrap(),
                    Event::Fail => tasks.fail(&claim, Fault::Bad, "bad").await.unwrap(),
                    Event::Retry => {
                        let outcome = tasks
                            .retry(&claim, Duration::ZERO, Fault::Internal, "again", MAX_TRIES)
                            .await
                            .unwrap();
                        assert_eq!(outcome == RetryOutcome::Failed, model.ended);
                    }
                    Event::Wait => tasks.wait(&claim, LONG, "recognizer", "away").await.unwrap(),
                    Event::Interrupted => {
                        tasks
                            .interrupted(&claim, LONG, "recognizer", "died")
                            .await
                            .unwrap();
                    }
                    Event::Release => tasks.release(&claim).await.unwrap(),
                    Event::Renew => {
                        tasks.renew(&claim).await.unwrap();
                        held = Some(claim);
                    }
                }
                // Delays pass, and the lease of a dead worker runs out.
                if !model.claimed {
                    back_end
                        .execute(&format!(
                            "UPDATE tasks SET available_at = 1000 WHERE state = 0 AND image_id = {}",
                            image.id
                        ))
                        .await;
                }
            }
        }

        let detail = back_end.image(image.id).await;
        let task = &detail.tasks[0];
        assert_eq!(
            (task.claims, task.tries, task.waits),
            (counted(&model, task.claims), model.tries, model.waits)
        );
        assert_eq!(detail.image.status.is_final(), model.ended);
        assert_eq!(
            detail.image.status == Status::Failed,
            detail.image.reason.is_some()
        );
    }
}

/// How many claims a task had that has ended is of no interest.
fn counted(model: &Model, found: u32) -> u32 {
    if model.ended { found } else { model.claims }
}

fn rand_path() -> u128 {
    use std::hash::{BuildHasher as _, RandomState};
    u128::from(RandomState::new().hash_one(0)) << 64 | u128::from(RandomState::new().hash_one(1))
}

fn check(cases: u32, back_end: impl Future<Output = BackEnd>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let back_end = runtime.block_on(back_end);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let events = proptest::collection::vec(event(), 1..24);
    let outcome = runner.run(&events, |events| {
        runtime.block_on(follow(&back_end, &events));
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn any_sequence_of_events_is_counted_as_in_the_model_on_sqlite() {
    check(64, BackEnd::sqlite());
}

#[test]
fn any_sequence_of_events_is_counted_as_in_the_model_on_mariadb() {
    check(24, BackEnd::mysql());
}
