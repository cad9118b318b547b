//! The road of an image, on MariaDB, NSQ and the services as separate processes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use safelight_tests::{Stack, eventually, photographs};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_photograph_shows_its_person_on_the_page_within_two_seconds() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let stack = Stack::builder().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let photograph = stack.media().join("visitor.jpg");
    std::fs::copy(samples.join("obama2.jpg"), &photograph).unwrap();
    let client = stack.client();

    let posted = Instant::now();
    let (status, body) = client.post(photograph.to_str().unwrap()).await.unwrap();
    assert_eq!(status, 202, "{body}");
    let id = body["id"].as_i64().unwrap();
    let page = stack.frontend.url(&format!("/images/{id}"));
    eventually("the page shows the person", Duration::from_secs(10), async || {
        let text = reqwest::get(&page).await.ok()?.text().await.ok()?;
        text.contains("obama").then_some(())
    })
    .await;
    let took = posted.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");

    let image = client.image(id).await.unwrap();
    assert_eq!(
        (image.status.as_str(), image.people.as_slice()),
        ("processed", ["obama".to_owned()].as_slice())
    );
    let (status, body) = client.post(photograph.to_str().unwrap()).await.unwrap();
    assert_eq!((status, body["duplicate"].as_bool()), (200, Some(true)), "{body}");
    assert_eq!(body["status"], "processed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_known_is_processed_and_what_cannot_be_opened_is_failed_with_its_reason() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let stack = Stack::builder().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let media = stack.media();
    std::fs::copy(samples.join("biden.jpg"), media.join("stranger.jpg")).unwrap();
    std::fs::write(media.join("text.jpg"), "this is no picture").unwrap();
    std::fs::write(media.join("nothing.jpg"), "").unwrap();
    let whole = std::fs::read(samples.join("biden.jpg")).unwrap();
    std::fs::write(media.join("half.jpg"), &whole[..whole.len() / 2]).unwrap();
    let client = stack.client();
    let names = [
        "stranger.jpg",
        "text.jpg",
        "nothing.jpg",
        "half.jpg",
        "missing.jpg",
    ];
    let paths: Vec<String> = names
        .iter()
        .map(|name| media.join(name).to_str().unwrap().to_owned())
        .collect();
    let ids: Vec<i64> = client
        .post_all(&paths)
        .await
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();

    let all = client.wait_until_final(&ids, Duration::from_secs(30)).await;
    let stranger = &all[&ids[0]];
    assert_eq!(
        (stranger.status.as_str(), stranger.people.len()),
        ("processed", 0)
    );
    for id in &ids[1..] {
        let image = &all[id];
        assert_eq!(image.status, "failed", "{image:?}");
        assert!(
            image.reason.as_ref().is_some_and(|reason| !reason.is_empty()),
            "{image:?}"
        );
    }
    // Bad is not down: no try was wasted, no circuit opened.
    assert_eq!(
        stack
            .processor
            .metric("processor_images_total{outcome=\"retried\"}")
            .await,
        0.0
    );
    assert_eq!(
        stack
            .processor
            .metric("processor_images_total{outcome=\"waiting\"}")
            .await,
        0.0
    );
    assert_eq!(
        stack
            .processor
            .metric("processor_images_total{outcome=\"failed\"}")
            .await,
        4.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_back_end_that_speaks_the_older_contract_can_be_used() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let stack = Stack::builder()
        .processor("RECOGNIZER_API", "facerecog")
        .start()
        .await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let photograph = stack.media().join("visitor.jpg");
    std::fs::copy(samples.join("obama2.jpg"), &photograph).unwrap();
    let client = stack.client();
    let id = client.post_until_accepted(photograph.to_str().unwrap()).await;
    let all = client.wait_until_final(&[id], Duration::from_secs(20)).await;
    assert_eq!(
        (all[&id].status.as_str(), all[&id].people.as_slice()),
        ("processed", ["obama".to_owned()].as_slice())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_needs_no_proto_file() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    safelight_testkit::require_nsq!();
    let local = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin/grpcurl");
    let grpcurl = if std::path::Path::new(local).exists() {
        local
    } else {
        "grpcurl"
    };
    if Command::new(grpcurl).arg("-version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "no grpcurl; run scripts/build-go-tool.sh grpcurl"
        );
        let loud = "SKIPPED: no grpcurl; run scripts/build-go-tool.sh grpcurl";
        let _ = writeln!(std::io::stderr(), "{loud}");
        return;
    }
    let stack = Stack::builder().start().await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let photograph = stack.media().join("visitor.jpg");
    std::fs::copy(samples.join("obama2.jpg"), &photograph).unwrap();

    let run = |arguments: &[&str]| {
        let output = Command::new(grpcurl)
            .arg("-plaintext")
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let address = stack.grpc.to_string();
    let services = run(&[&address, "list"]);
    for service in [
        "facerecog.Identify",
        "facerecog.HealthCheck",
        "safelight.recognizer.v1.Recognizer",
        "grpc.health.v1.Health",
    ] {
        assert!(
            services.lines().any(|line| line == service),
            "{service} is not in\n{services}"
        );
    }
    let request = format!(r#"{{"image_path":"{}"}}"#, photograph.display());
    let answer: serde_json::Value =
        serde_json::from_str(&run(&["-d", &request, &address, "facerecog.Identify/Identify"])).unwrap();
    assert_eq!(answer["imageName"], "obama_1.jpg");
}
