//! What is killed comes back, and nothing is lost, falsely failed or done twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use safelight_proto::recognizer::v1::ListPeopleRequest;
use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient;
use safelight_tests::{Client, Stack, eventually, photographs};

/// The ids that a user was told are accepted.
async fn post_under_load(client: Client, paths: Vec<String>, half: Arc<AtomicBool>) -> Vec<i64> {
    let mut ids = Vec::with_capacity(paths.len());
    for (index, path) in paths.iter().enumerate() {
        if index == paths.len() / 2 {
            half.store(true, Ordering::SeqCst);
        }
        ids.push(client.post_until_accepted(path).await);
    }
    ids
}

fn distinct(ids: &[i64]) -> usize {
    ids.iter().collect::<HashSet<_>>().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recognizer_killed_amid_200_images_and_back_after_15_seconds_fails_none_and_does_none_twice() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let mut stack = Stack::builder().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let paths = photographs::copies_of(&samples.join("obama2.jpg"), &stack.media(), 200);
    let client = stack.client();
    let ids: Vec<i64> = client
        .post_all(&paths)
        .await
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();

    let processed = "processor_images_total{outcome=\"processed\"}";
    eventually("a quarter is done", Duration::from_secs(120), async || {
        (stack.processor.metric(processed).await >= 50.0).then_some(())
    })
    .await;
    stack.recognizer.kill();
    let done = stack.processor.metric(processed).await;
    assert!(done < 200.0, "all were done before the kill; nothing was tested");
    let url = stack.processor.url("/ready");
    eventually(
        "the processor says that the recognizer is away",
        Duration::from_secs(14),
        async || {
            let answer = reqwest::get(&url).await.ok()?;
            (answer.status().as_u16() == 503).then_some(())
        },
    )
    .await;
    let queue = async || stack.nsqd.channel("images", "ch").await;
    eventually("nsqd is asked for no more", Duration::from_secs(5), async || {
        let channel = queue().await;
        (channel.ready == [0] && channel.in_flight == 0).then_some(())
    })
    .await;
    let before = queue().await;
    // The length of the outage is what this is about.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let after = queue().await;
    assert_eq!(
        (after.ready, after.requeued),
        (before.ready, before.requeued),
        "images wait in the queue and are not handed to and fro"
    );
    let all = client.images().await.unwrap();
    assert!(
        all.values().all(|image| image.status != "failed"),
        "down is not failed"
    );
    stack.recognizer.start();

    let all = client.wait_until_final(&ids, Duration::from_secs(180)).await;
    assert_eq!(all.len(), 200);
    for image in all.values() {
        assert_eq!(
            (image.status.as_str(), image.people.as_slice()),
            ("processed", ["obama".to_owned()].as_slice())
        );
    }
    assert_eq!(stack.processor.metric(processed).await, 200.0, "none twice");
    assert_eq!(
        stack
            .processor
            .metric("processor_images_total{outcome=\"retried\"}")
            .await,
        0.0,
        "no try was used up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_accepted_while_nsqd_is_killed_and_restarted_reaches_a_final_state() {
    let Some(_) = photographs::samples() else { return };
    safelight_testkit::require_nsq!();
    let mut stack = Stack::builder().start().await;
    let paths = photographs::empty_pictures(&stack.media(), 600);
    let half = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn(post_under_load(stack.client(), paths, Arc::clone(&half)));
    eventually("half is posted", Duration::from_secs(60), async || {
        half.load(Ordering::SeqCst).then_some(())
    })
    .await;
    stack.nsqd.kill();
    let ids = posting.await.unwrap();
    assert_eq!(
        distinct(&ids),
        600,
        "the receiver kept accepting while the queue was away"
    );
    stack.nsqd.restart().await;

    let all = stack
        .client()
        .wait_until_final(&ids, Duration::from_secs(120))
        .await;
    assert!(all.values().all(|image| image.status == "processed"));
    assert_eq!(
        stack
            .processor
            .metric("processor_images_total{outcome=\"processed\"}")
            .await,
        600.0,
        "none twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_accepted_while_the_database_is_killed_and_restarted_reaches_a_final_state() {
    let Some(_) = photographs::samples() else { return };
    safelight_testkit::require_nsq!();
    let stack = Stack::builder()
        .processor("PROCESSOR_LEASE_SECONDS", 6)
        .start()
        .await;
    let paths = photographs::empty_pictures(&stack.media(), 600);
    let half = Arc::new(AtomicBool::new(false));
    let posting = tokio::spawn(post_under_load(stack.client(), paths, Arc::clone(&half)));
    eventually("half is posted", Duration::from_secs(60), async || {
        half.load(Ordering::SeqCst).then_some(())
    })
    .await;
    stack.mariadb.kill();
    let ready = stack.receiver.url("/ready");
    eventually(
        "the receiver says that its database is away",
        Duration::from_secs(15),
        async || {
            let answer = reqwest::get(&ready).await.ok()?;
            (answer.status().as_u16() == 503).then_some(())
        },
    )
    .await;
    stack.mariadb.restart().await;
    let ids = posting.await.unwrap();
    assert_eq!(distinct(&ids), 600);

    let all = stack
        .client()
        .wait_until_final(&ids, Duration::from_secs(120))
        .await;
    assert!(all.values().all(|image| image.status == "processed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_processor_that_was_killed_are_taken_over_when_their_leases_end() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let mut stack = Stack::builder()
        .processor("PROCESSOR_LEASE_SECONDS", 3)
        .start()
        .await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let paths = photographs::copies_of(&samples.join("obama2.jpg"), &stack.media(), 60);
    let client = stack.client();
    let ids: Vec<i64> = client
        .post_all(&paths)
        .await
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();
    eventually("some are done", Duration::from_secs(60), async || {
        (stack
            .processor
            .metric("processor_images_total{outcome=\"processed\"}")
            .await
            >= 10.0)
            .then_some(())
    })
    .await;
    stack.processor.kill();
    stack.processor.start();
    let all = client.wait_until_final(&ids, Duration::from_secs(120)).await;
    assert!(
        all.values()
            .all(|image| image.status == "processed" && image.people == ["obama"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_told_to_stop_gives_back_what_it_holds_and_ends_well() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let mut stack = Stack::builder().start().await;
    let paths = photographs::copies_of(&samples.join("obama2.jpg"), &stack.media(), 40);
    let client = stack.client();
    let ids: Vec<i64> = client
        .post_all(&paths)
        .await
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();
    eventually("some are done", Duration::from_secs(60), async || {
        (stack
            .processor
            .metric("processor_images_total{outcome=\"processed\"}")
            .await
            >= 5.0)
            .then_some(())
    })
    .await;
    assert!(
        stack.processor.terminate().await,
        "it ended by itself, with success"
    );
    let all = client.images().await.unwrap();
    assert!(
        all.values().all(|image| image.status != "processing"),
        "nothing is left claimed"
    );
    stack.processor.start();
    let all = client.wait_until_final(&ids, Duration::from_secs(120)).await;
    assert!(all.values().all(|image| image.status == "processed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recognizer_replaced_under_load_loses_no_call_and_shows_its_certificate_to_the_processor_alone() {
    let Some(_) = photographs::samples() else { return };
    safelight_testkit::require_nsq!();
    let mut stack = Stack::builder().mutual_tls().start().await;
    // Whoever has no certificate does not get as far as a call.
    let stranger = tonic::transport::Endpoint::from_shared(format!("http://{}", stack.grpc)).unwrap();
    let mut stranger = RecognizerClient::new(stranger.connect_lazy());
    stranger.list_people(ListPeopleRequest {}).await.unwrap_err();

    let paths = photographs::empty_pictures(&stack.media(), 300);
    let client = stack.client();
    let ids: Vec<i64> = client
        .post_all(&paths)
        .await
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();
    let processed = "processor_images_total{outcome=\"processed\"}";
    eventually("some are done", Duration::from_secs(60), async || {
        (stack.processor.metric(processed).await >= 20.0).then_some(())
    })
    .await;
    assert!(stack.recognizer.terminate().await, "it ended well");
    assert!(
        stack.processor.metric(processed).await < 300.0,
        "all were done before the stop; nothing was tested"
    );
    stack.recognizer.start();

    let all = client.wait_until_final(&ids, Duration::from_secs(120)).await;
    assert!(all.values().all(|image| image.status == "processed"));
    assert_eq!(stack.processor.metric(processed).await, 300.0, "none twice");
    let calls = |outcome| stack.processor.metric_sum("mesh_calls_total", outcome);
    assert!(calls("outcome=\"success\"").await >= 300.0);
    assert_eq!(
        calls("outcome=\"failure\"").await,
        0.0,
        "what ran was finished, and what came later was not sent"
    );
}
