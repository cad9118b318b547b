//! The road of an upload: from the form to what was made of it, and to the mail that tells of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use safelight_testkit::{ReceivedMail, require_ffmpeg, require_nsq, require_smtp};
use safelight_tests::{Client, Stack, photographs};
use serde_json::Value;
use tokio::time::Instant;

/// Long enough for a slow machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

/// Uploads a file for this address; its image's id.
async fn upload(client: &Client, file: &Path, name: &str, email: &str) -> i64 {
    let content = std::fs::read(file).unwrap();
    let (status, body) = client
        .prepare(name, &content, &format!("email={email}"))
        .await
        .unwrap();
    assert_eq!(
        (status, &body["status"]),
        (202, &Value::from("pending")),
        "{body}"
    );
    body["id"].as_i64().unwrap()
}

fn mails_to(stack: &Stack, email: &str) -> Vec<ReceivedMail> {
    let mails = stack.smtp.as_ref().unwrap().mails();
    mails.into_iter().filter(|mail| mail.to == [email]).collect()
}

fn outputs(detail: &Value) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value| value.as_str().unwrap().to_owned().leak() as &str;
    let outputs = detail["outputs"].as_array().unwrap();
    let file = |output: &Value| text(&output["uri"]).rsplit('/').next().unwrap();
    outputs
        .iter()
        .map(|output| (text(&output["role"]), file(output)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_becomes_what_was_promised_and_one_mail_with_it() {
    let (Some(samples), Some(films)) = (photographs::samples(), photographs::films()) else {
        return;
    };
    require_nsq!();
    require_smtp!();
    require_ffmpeg!();
    let stack = Stack::builder().mail().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let client = stack.client();
    let text = stack.media().join("notes.txt");
    std::fs::write(&text, "this is neither a picture nor a film").unwrap();

    let picture = upload(&client, &samples.join("obama2.jpg"), "cat.jpg", "cat@example.org").await;
    let film = upload(&client, &films.join("bikes.mp4"), "clip.mp4", "clip@example.org").await;
    let neither = upload(&client, &text, "upload.mp4", "text@example.org").await;

    let detail = client.wait_until_told(picture, DEADLINE).await;
    assert_eq!(
        (&detail["status"], &detail["name"]),
        (&"processed".into(), &"cat.jpg".into())
    );
    assert_eq!(detail["people"], Value::from(vec!["obama"]));
    let made = outputs(&detail);
    assert_eq!(made[0], ("thumbnail-small", "cat_t.jpg"));
    let small = client.fetch("/images/1/outputs/thumbnail-small").await.unwrap();
    assert_eq!(image::load_from_memory(&small).unwrap().width(), 120);

    let detail = client.wait_until_told(film, DEADLINE).await;
    assert_eq!(detail["status"], "processed", "{detail}");
    let mut made = outputs(&detail);
    made.sort_unstable();
    assert_eq!(made, [("animation", "clip.gif"), ("frame", "clip_f.png")]);

    let detail = client.wait_until_told(neither, DEADLINE).await;
    assert_eq!(detail["status"], "failed");
    let why = "the file is neither a picture nor a film";
    assert_eq!(detail["reason"], why);

    for (email, word) in [
        ("cat@example.org", "/outputs/thumbnail-small"),
        ("clip@example.org", "/outputs/animation"),
        ("text@example.org", why),
    ] {
        let mails = mails_to(&stack, email);
        assert_eq!(mails.len(), 1, "{email}");
        assert!(mails[0].words().contains(word), "{}", mails[0].words());
    }
    let page = stack.frontend.url(&format!("/images/{film}"));
    let page = reqwest::get(&page).await.unwrap().text().await.unwrap();
    assert!(
        page.contains("/outputs/animation") && page.contains("clip.mp4"),
        "{page}"
    );
}

/// How long the transformer is away.
const AWAY: Duration = Duration::from_secs(30);

/// Has pictures recognized, some at a time, until this has taken so long. How many a second it were.
async fn recognize_for(client: &Client, photograph: &Path, folder: &Path, least: Duration) -> f64 {
    std::fs::create_dir(folder).unwrap();
    let paths = photographs::copies_of(photograph, folder, 2000);
    let begun = Instant::now();
    let mut recognized = 0;
    for some in paths.chunks(8) {
        if begun.elapsed() >= least {
            break;
        }
        let ids: Vec<i64> = client
            .post_all(some)
            .await
            .iter()
            .map(|entry| entry["id"].as_i64().unwrap())
            .collect();
        let all = client.wait_until_final(&ids, DEADLINE).await;
        assert!(ids.iter().all(|id| all[id].status == "processed"), "{all:?}");
        recognized += ids.len();
    }
    assert!(begun.elapsed() >= least, "there were not enough pictures");
    recognized as f64 / begun.elapsed().as_secs_f64()
}

/// Down is not failed, and what needs another service goes on.
#[tokio::test(flavor = "multi_thread")]
async fn while_the_transformer_is_away_its_work_waits_and_recognition_goes_on() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    require_nsq!();
    require_smtp!();
    let mut stack = Stack::builder().mail().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let client = stack.client();
    let photograph = samples.join("obama2.jpg");
    let there = recognize_for(&client, &photograph, &stack.media().join("there"), AWAY / 6).await;

    stack.transformer.kill();
    stack.processor.ready_but_for("transformer").await;
    let waiting = upload(&client, &photograph, "a.jpg", "a@example.org").await;
    let away = recognize_for(&client, &photograph, &stack.media().join("away"), AWAY).await;
    eprintln!("recognized a second: {there:.1} with the transformer there, {away:.1} while it was away");
    let images = client.images().await.unwrap();
    assert_eq!(images[&waiting].status, "pending");
    assert!(
        images.values().all(|image| image.status != "failed"),
        "{images:?}"
    );

    stack.transformer.start();
    let detail = client.wait_until_told(waiting, DEADLINE).await;
    assert_eq!(detail["status"], "processed");
    for task in detail["tasks"].as_array().unwrap() {
        assert_eq!(
            (&task["state"], &task["tries"]),
            (&"done".into(), &0.into()),
            "{task}"
        );
    }
    assert_eq!(mails_to(&stack, "a@example.org").len(), 1);
}
