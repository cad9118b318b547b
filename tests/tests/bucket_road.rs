//! The road of an upload, where uploads and outputs lie in a bucket of S3.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use safelight_testkit::{require_ffmpeg, require_nsq, require_s3, require_smtp};
use safelight_tests::{Client, Stack, photographs};
use serde_json::{Value, json};

/// Long enough for a slow machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_what_is_made_of_them_lie_in_the_bucket_and_are_shown_from_there() {
    let (Some(samples), Some(films)) = (photographs::samples(), photographs::films()) else {
        return;
    };
    require_nsq!();
    require_smtp!();
    require_ffmpeg!();
    require_s3!();
    let stack = Stack::builder().mail().bucket().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let client = stack.client();
    let picture = upload(&client, &samples.join("obama2.jpg"), "cat.jpg").await;
    let film = upload(&client, &films.join("bikes.mp4"), "clip.mp4").await;

    let detail = client.wait_until_told(picture, DEADLINE).await;
    assert_eq!(detail["status"], "processed", "{detail}");
    assert_eq!(detail["people"], Value::from(vec!["obama"]));
    let path = detail["path"].as_str().unwrap();
    assert!(
        path.starts_with("s3://pictures/input/") && path.ends_with("/cat.jpg"),
        "{path}"
    );
    let detail = client.wait_until_told(film, DEADLINE).await;
    assert_eq!(detail["status"], "processed", "{detail}");

    let bucket = stack.bucket.as_ref().unwrap().bucket();
    for name in [
        format!("output/{picture}/cat_t.jpg"),
        format!("output/{film}/clip_f.png"),
        format!("output/{film}/clip.gif"),
    ] {
        assert!(bucket.join(&name).is_file(), "{name}");
    }
    assert_eq!(std::fs::read_dir(stack.store()).unwrap().count(), 0);

    let small = format!("/images/{picture}/outputs/thumbnail-small");
    let small = client.fetch(&small).await.unwrap();
    assert_eq!(image::load_from_memory(&small).unwrap().width(), 120);
    let shown = stack.frontend.url(&format!("/images/{picture}/picture"));
    let shown = reqwest::get(&shown).await.unwrap().bytes().await.unwrap();
    assert!(shown == std::fs::read(samples.join("obama2.jpg")).unwrap());

    let mails = stack.smtp.as_ref().unwrap().mails();
    assert_eq!(mails.len(), 2);
    let shows = format!("<picture-{picture}@safelight>");
    assert!(
        mails.iter().any(|mail| mail.raw.contains(&shows)),
        "a mail shows the thumbnail"
    );
}

/// Down is not failed: the transformer says that it cannot serve, and what needs it waits.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_bucket_is_away_uploads_are_turned_away_and_work_waits_without_using_tries() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    require_nsq!();
    require_smtp!();
    require_s3!();
    let mut stack = Stack::builder().mail().bucket().start().await;
    let client = stack.client();
    let path = stack.media().join("a.jpg");
    std::fs::copy(samples.join("obama2.jpg"), &path).unwrap();

    stack.bucket.as_mut().unwrap().kill();
    stack.processor.ready_but_for("transformer").await;
    let content = std::fs::read(&path).unwrap();
    let (status, body) = client
        .prepare("b.jpg", &content, "email=b@example.org")
        .await
        .unwrap();
    assert_eq!(status, 503, "{body}");
    assert_eq!(body["type"], "urn:safelight:problem:store-away");

    let posted = reqwest::Client::new()
        .post(stack.receiver.url("/image/post"))
        .json(&json!({"path": path, "email": "a@example.org"}))
        .send()
        .await
        .unwrap();
    let posted: Value = posted.json().await.unwrap();
    let waiting = posted["id"].as_i64().unwrap();
    assert_eq!(client.image(waiting).await.unwrap().status, "pending");

    stack.bucket.as_mut().unwrap().restart().await;
    let detail = client.wait_until_told(waiting, DEADLINE).await;
    assert_eq!(detail["status"], "processed", "{detail}");
    for task in detail["tasks"].as_array().unwrap() {
        assert_eq!(
            (&task["state"], &task["tries"]),
            (&"done".into(), &0.into()),
            "{task}"
        );
    }
}

async fn upload(client: &Client, file: &Path, name: &str) -> i64 {
    let content = std::fs::read(file).unwrap();
    let (status, body) = client
        .prepare(name, &content, &format!("email={name}@example.org"))
        .await
        .unwrap();
    assert_eq!(status, 202, "{body}");
    body["id"].as_i64().unwrap()
}
