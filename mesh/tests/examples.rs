//! What the examples claim comes true: each ends with an error where it does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(dead_code, reason = "their main functions are not called here")]
#![allow(
    clippy::duplicate_mod,
    reason = "each is a program with the support of its own"
)]

#[path = "../examples/brown_out.rs"]
mod brown_out;
#[path = "../examples/health_probe.rs"]
mod health_probe;
#[path = "../examples/one_dead_of_three.rs"]
mod one_dead_of_three;

/// They have load and time in them, so they do not run side by side.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_dead_of_three_every_call_is_answered() {
    let _alone = ALONE.lock().await;
    one_dead_of_three::run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brown_out_is_found_out_and_left_alone() {
    let _alone = ALONE.lock().await;
    brown_out::run().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_loses_no_job_to_a_service_that_comes_and_goes() {
    let _alone = ALONE.lock().await;
    health_probe::run().await.unwrap();
}
