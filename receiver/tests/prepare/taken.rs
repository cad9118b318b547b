//! Files that are taken in.

use std::path::{Path, PathBuf};

use reqwest::StatusCode;
use safelight_database::TaskState;
use safelight_queue::{CHANNEL, decode_id};
use safelight_receiver::Limits;
use serde_json::{Value, json};

use crate::forms::{TO_A, file, form, objects, part, send, send_file, uploads_begun};
use crate::served::{DEADLINE, Served};

#[tokio::test]
async fn a_picture_is_stored_recorded_and_announced() {
    let served = Served::with_store(Limits::default()).await;
    let mut messages = served.queue.subscribe("prepare", CHANNEL, 64).unwrap();
    let response = send_file(&served, "My cat.png", b"its bytes").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    let id = answer["id"].as_i64().unwrap();
    let path = answer["path"].as_str().unwrap();
    assert_eq!(answer, json!({ "id": id, "path": path, "status": "pending" }));
    assert!(path.ends_with("/My_cat.png"), "{path}");
    assert_eq!(std::fs::read(path).unwrap(), b"its bytes");
    assert_eq!(objects(&served), [PathBuf::from(path)]);
    assert_eq!(uploads_begun(&served).await, 0);

    let record = served.database.images().get(id).await.unwrap().unwrap();
    assert_eq!(record.image.path, path);
    assert_eq!(record.tasks.len(), 1);
    let task = &record.tasks[0];
    assert_eq!((task.kind.as_str(), task.state), ("prepare", TaskState::Ready));
    let message = tokio::time::timeout(DEADLINE, messages.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(decode_id(message.body()).unwrap(), task.id);
}

#[tokio::test]
async fn a_project_a_webhook_and_a_time_may_be_given() {
    let served = Served::with_store(Limits::default()).await;
    let path = "/prepare?webhook=https%3A%2F%2Fexample.org%2Ftold%3Fby%3Dus&project=door&at=12.5";
    let response = send(&served, path, form(&[file("a.mp4", b"film")])).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    let id = answer["id"].as_i64().unwrap();
    let record = served.database.images().get(id).await.unwrap().unwrap();
    assert_eq!(record.image.project.as_deref(), Some("door"));
}

#[tokio::test]
async fn the_same_file_again_is_another_upload() {
    let served = Served::with_store(Limits::default()).await;
    for _ in 0..2 {
        let response = send_file(&served, "a.png", b"bytes").await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
    assert_eq!(objects(&served).len(), 2);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 2);
}

#[tokio::test]
async fn whatever_a_file_is_called_it_lies_where_uploads_do() {
    let served = Served::with_store(Limits::default()).await;
    let inputs = served.folder.path().join("store/input");
    let long = "x".repeat(4096) + ".png";
    for name in [
        "../../etc/passwd",
        "..\\\\..\\\\boot.ini",
        "/etc/passwd",
        "..",
        ".hidden",
        "",
        "a%00b.png",
        "%2e%2e%2fa.png",
        "\u{1f600} \u{e4}.jpg",
        "a\tb.png",
        &long,
        "input/../../../a.png",
        "say \\\"cheese\\\".png",
    ] {
        let response = send_file(&served, name, b"bytes").await;
        assert_eq!(response.status(), StatusCode::ACCEPTED, "{name:?}");
        let answer: Value = response.json().await.unwrap();
        let path = Path::new(answer["path"].as_str().unwrap());
        let below = path.strip_prefix(&inputs).unwrap();
        assert_eq!(below.components().count(), 2, "{path:?}");
        let last = below.file_name().unwrap().to_str().unwrap();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        assert!(last.len() <= 70 && last.chars().all(plain), "{last}");
        assert_eq!(std::fs::read(path).unwrap(), b"bytes");
    }
}

#[tokio::test]
async fn a_file_without_a_name_is_taken() {
    let served = Served::with_store(Limits::default()).await;
    let response = send(&served, TO_A, form(&[part("name=\"data\"", b"bytes")])).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    assert!(answer["path"].as_str().unwrap().ends_with("/file"), "{answer}");
}

#[tokio::test]
async fn what_else_a_form_holds_is_passed_over() {
    let served = Served::with_store(Limits::default()).await;
    let parts = [
        part("name=\"note\"", &[b'n'; 4096]),
        file("a.png", b"bytes"),
        part("name=\"other\"; filename=\"b.png\"", b"other"),
    ];
    let response = send(&served, TO_A, form(&parts)).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(objects(&served).len(), 1);
}

#[tokio::test]
async fn every_byte_of_a_file_is_kept() {
    let served = Served::with_store(Limits::default()).await;
    // Line breaks, hyphens and what looks like the boundary, over the edges of what is read at a time.
    let mut content = Vec::new();
    for number in 0..40_000_u32 {
        content.extend_from_slice(&number.to_le_bytes());
        content.extend_from_slice(b"\r\n--betwee\r\n--");
    }
    let answer: Value = send_file(&served, "a.bin", &content).await.json().await.unwrap();
    let kept = std::fs::read(answer["path"].as_str().unwrap()).unwrap();
    assert!(kept == content, "{} of {} bytes", kept.len(), content.len());
}
