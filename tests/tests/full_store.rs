//! A store without room: uploads are refused, and what was taken before waits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use safelight_testkit::require_nsq;
use safelight_tests::{Client, SmallStore, Stack, eventually, photographs};
use serde_json::Value;

/// Long enough for a slow machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

/// All files in the store.
fn files_in(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let count = |path: &Path| if path.is_dir() { files_in(path) } else { 1 };
    entries.map(|entry| count(&entry.unwrap().path())).sum()
}

/// Waits until an image has its final state: processed, and not a try was used on its way.
async fn processed_without_a_try(client: &Client, id: i64) {
    let detail = eventually(&format!("image {id} is final"), DEADLINE, async || {
        let detail = client.detail(id).await?;
        let status = detail["status"].as_str()?.to_owned();
        (status == "processed" || status == "failed").then_some(detail)
    })
    .await;
    assert_eq!(detail["status"], "processed", "{detail:#}");
    let tasks = detail["tasks"].as_array().unwrap();
    assert!(tasks.len() >= 3, "{detail:#}");
    assert!(tasks.iter().all(|task| task["tries"] == 0), "{detail:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_full_uploads_are_refused_and_what_was_taken_waits() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    require_nsq!();
    if !SmallStore::is_possible("full_store") {
        return;
    }
    let mut stack = Stack::builder().small_store(16).start().await;
    let client = stack.client();
    let pictures = photographs::copies_of(&samples.join("obama2.jpg"), &stack.media(), 10);
    let content = std::fs::read(&pictures[0]).unwrap();
    let upload = async |name: &str| {
        let answer = client.prepare(name, &content, "email=a@example.org").await;
        answer.unwrap()
    };

    // Pictures that wait for a transformer, and find no room when it comes.
    stack.transformer.kill();
    stack.processor.ready_but_for("transformer").await;
    let mut waiting = Vec::new();
    for number in 0..5 {
        let (status, body) = upload(&format!("{number}.jpg")).await;
        assert_eq!(status, 202, "{body}");
        waiting.push(body["id"].as_i64().unwrap());
    }
    stack.small_store.as_ref().unwrap().fill();
    // With what the transformer may have been about when it was killed.
    let before = files_in(&stack.store());
    let (status, body) = upload("late.jpg").await;
    assert_eq!(
        (status, &body["type"]),
        (507, &Value::from("urn:safelight:problem:store-full"))
    );
    assert!(
        body["detail"]
            .as_str()
            .unwrap()
            .contains("send the file again when there is room"),
        "{body}"
    );
    eventually("nothing of it stays", DEADLINE, async || {
        (files_in(&stack.store()) == before).then_some(())
    })
    .await;
    assert_eq!(client.images().await.unwrap().len(), 5);

    stack.transformer.start();
    stack.transformer.ready_but_for("store").await;
    stack.processor.ready_but_for("transformer").await;
    // Recognition needs no room.
    let recognized = client.post_until_accepted(&pictures[0]).await;
    let images = client.wait_until_final(&[recognized], DEADLINE).await;
    assert_eq!(images[&recognized].status, "processed");

    stack.small_store.as_ref().unwrap().make_room();
    for id in waiting {
        processed_without_a_try(&client, id).await;
    }

    // Pictures that come while nobody knows yet that there is no room.
    stack.small_store.as_ref().unwrap().fill();
    let mut waiting = Vec::new();
    for path in &pictures[5..] {
        let (status, body) = client.post_for(path, "a@example.org").await.unwrap();
        assert_eq!(status, 202, "{body}");
        waiting.push(body["id"].as_i64().unwrap());
    }
    stack.processor.ready_but_for("transformer").await;
    stack.small_store.as_ref().unwrap().make_room();
    for id in waiting {
        processed_without_a_try(&client, id).await;
    }
    let (status, body) = upload("again.jpg").await;
    assert_eq!(status, 202, "{body}");
}
