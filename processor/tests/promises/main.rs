//! What the processor promises, against a recognizer that does as it is told, over real gRPC.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod road;
mod scripted;

use std::time::Duration;

use road::Road;
use safelight_database::Status;
use safelight_processor::Settings;
use scripted::Answer;
use tokio::time::Instant;

/// It works on nothing but what messages bring.
fn without_a_sweep(settings: &mut Settings) {
    settings.concurrency = 1;
    settings.sweep_interval = DEADLINE * 10;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_recognizer_is_away_nothing_is_failed_and_no_try_is_used_up() {
    let mut road = Road::begin().await;
    let ids = road.accept(["/a.jpg", "/b.jpg", "/c.jpg"]).await;
    road.eventually("the processor knows that the recognizer is away", async |road| {
        road.ready().is_err()
    })
    .await;
    road.recognizer.start();
    for id in ids {
        let image = road.wait_until_final(id).await;
        assert_eq!(image.image.status, Status::Processed);
        assert_eq!(image.tasks[0].tries, 0, "no try was used up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recognizer_that_is_full_makes_images_wait_and_costs_no_try() {
    let mut road = Road::begin().await;
    road.recognizer
        .answers("/full.jpg", [Answer::Full, Answer::Full, Answer::Full]);
    road.recognizer.start();
    let ids = road.accept(["/full.jpg"]).await;
    let image = road.wait_until_final(ids[0]).await;
    assert_eq!((image.image.status, image.tasks[0].tries), (Status::Processed, 0));
    assert_eq!(road.recognizer.calls("/full.jpg"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pictures_fail_at_once_and_trip_no_circuit() {
    let mut road = Road::begin().await;
    let bad = [
        "/1.jpg", "/2.jpg", "/3.jpg", "/4.jpg", "/5.jpg", "/6.jpg", "/7.jpg",
    ];
    for path in bad {
        road.recognizer.answers(path, [Answer::Bad]);
    }
    road.recognizer.start();
    for (path, id) in bad.iter().zip(road.accept(bad).await) {
        let image = road.wait_until_final(id).await.image;
        assert_eq!(
            (image.status, image.reason.as_deref()),
            (Status::Failed, Some("not a picture"))
        );
        assert_eq!(road.recognizer.calls(path), 1, "it is not tried again");
    }
    assert!(
        road.recognizer_is_available(),
        "seven in a row are more than open a circuit"
    );
    let good = road.accept(["/good.jpg"]).await;
    assert_eq!(
        road.wait_until_final(good[0]).await.image.status,
        Status::Processed
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_fails_while_others_succeed_uses_up_its_tries() {
    let mut road = Road::begin().await;
    road.recognizer
        .answers("/bug.jpg", vec![Answer::BugAfterAnother; 10]);
    road.recognizer.start();
    // While the recognizer is tried out it gets one image at a time, and this one waits for others.
    let first = road.accept(["/first.jpg"]).await;
    road.wait_until_final(first[0]).await;
    let ids = road.accept(["/bug.jpg"]).await;
    let mut others = 0;
    let bug = road
        .eventually("it has failed", async |road| {
            // Others succeed all the while.
            others += 1;
            road.accept([format!("/other-{others}.jpg").as_str()]).await;
            let image = road.image(ids[0]).await;
            (image.image.status == Status::Failed).then_some(image)
        })
        .await;
    assert_eq!(bug.tasks[0].tries, road.max_tries());
    assert_eq!(bug.image.reason.as_deref(), Some("a bug"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_kills_its_worker_three_times_is_failed_and_the_others_are_not() {
    let mut road = Road::begin().await;
    road.recognizer.answers("/poison.jpg", vec![Answer::Die; 10]);
    road.recognizer.start();
    let ids = road
        .accept(["/a.jpg", "/poison.jpg", "/b.jpg", "/c.jpg", "/d.jpg", "/e.jpg"])
        .await;
    let poison = road.wait_until_final(ids[1]).await;
    assert_eq!(poison.image.status, Status::Failed);
    let reason = poison.image.reason.unwrap();
    assert!(reason.starts_with("crashed the worker"), "{reason}");
    assert_eq!(road.recognizer.calls("/poison.jpg"), 3);
    for id in [ids[0], ids[2], ids[3], ids[4], ids[5]] {
        assert_eq!(road.wait_until_final(id).await.image.status, Status::Processed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_no_message_brings_is_swept_up() {
    let mut road = Road::begin().await;
    road.recognizer.start();
    let id = road.accept_without_a_message("/forgotten.jpg").await;
    assert_eq!(road.wait_until_final(id).await.image.status, Status::Processed);
}

/// Not even where the one hand there is waits for messages.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_no_message_brings_is_swept_up_by_a_single_hand() {
    let mut road = Road::with(|settings| settings.concurrency = 1).await;
    road.recognizer.start();
    let ids = road.accept(["/announced.jpg"]).await;
    assert_eq!(
        road.wait_until_final(ids[0]).await.image.status,
        Status::Processed
    );
    let id = road.accept_without_a_message("/forgotten.jpg").await;
    assert_eq!(road.wait_until_final(id).await.image.status, Status::Processed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pictures_of_one_project_hold_up_no_other() {
    // The sweep takes turns by itself.
    let mut road = Road::with(without_a_sweep).await;
    let many = road.accept_of("many", 1_000).await;
    let one = road.accept_of("one", 1).await;
    road.recognizer.start();
    let one = road.wait_until_final(one[0]).await;
    let thirtieth = road.wait_until_final(many[29]).await;
    assert!(
        one.tasks[0].ended_at_ms < thirtieth.tasks[0].ended_at_ms,
        "the other project's first picture was done after the thirtieth"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_names_nothing_does_no_harm() {
    let mut road = Road::begin().await;
    road.recognizer.start();
    road.publish(&[
        b"no id".to_vec(),
        999_i64.to_le_bytes().to_vec(),
        Vec::from([0; 8]),
    ])
    .await;
    let ids = road.accept(["/a.jpg"]).await;
    assert_eq!(
        road.wait_until_final(ids[0]).await.image.status,
        Status::Processed
    );
    road.eventually("the messages are gone", async |road| {
        road.queue_is_empty().await.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_worker_died_goes_on_just_after_its_lease_by_its_message_alone() {
    let lease = Duration::from_secs(3);
    let mut road = Road::with(without_a_sweep).await;
    let ids = road.record_one("/a.jpg").await;
    let died = road.claim_for(ids[0], lease).await;
    let claimed = Instant::now();
    road.recognizer.start();
    road.announce(&ids).await;
    let image = road.wait_until_final(ids[0]).await;
    assert_eq!(image.image.status, Status::Processed);
    assert!(
        claimed.elapsed() >= lease - Duration::from_millis(100),
        "nobody is overtaken"
    );
    // On a busy machine, too: what comes long after that is another net than the message.
    assert!(
        claimed.elapsed() < lease + Duration::from_secs(20),
        "{:?}",
        claimed.elapsed()
    );
    assert_eq!(died.claims, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_a_task_that_somebody_else_ends_does_not_wait_for_his_lease() {
    let mut road = Road::with(without_a_sweep).await;
    let ids = road.record_one("/a.jpg").await;
    let other = road.claim_for(ids[0], DEADLINE * 10).await;
    road.recognizer.start();
    road.announce(&ids).await;
    road.eventually("the message was looked at and put off", async |road| {
        road.next_message().await.is_some_and(|in_| in_ > Duration::ZERO)
    })
    .await;
    road.fail(&other).await;
    road.eventually("the message is gone", async |road| road.queue_is_empty().await)
        .await;
    assert_eq!(road.recognizer.calls("/a.jpg"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_processor_leaves_nothing_claimed() {
    let mut road = Road::begin().await;
    road.recognizer.answers("/slow.jpg", [Answer::Never]);
    road.recognizer.start();
    let ids = road.accept(["/slow.jpg"]).await;
    road.eventually("it is worked on", async |road| {
        (road.image(ids[0]).await.image.status == Status::Processing).then_some(())
    })
    .await;
    road.stop().await;
    let image = road.image(ids[0]).await;
    assert_eq!((image.image.status, image.tasks[0].tries), (Status::Pending, 0));
    let claimed = road.claim(ids[0]).await;
    assert_eq!(
        claimed.claims, 1,
        "the claim was given back, and counts for nothing"
    );
}

/// Long enough for a slow machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);
