//! Files that are sent again under the key that they were sent with: each is one upload.

use reqwest::StatusCode;
use safelight_receiver::Limits;
use serde_json::Value;

use crate::forms::{
    Slow, TO_A, assert_nothing_stays, file, form, objects, send_file, send_under, uploads_begun,
};
use crate::served::{Served, problem, until};

#[tokio::test]
async fn an_upload_whose_answer_was_lost_is_answered_with_its_record_and_stored_once() {
    let served = Served::with_store(Limits::default()).await;
    let body = form(&[file("a.png", &[1; 1000])]);
    let sent = Slow::begin_under(&served, "mine", body.len(), &body).await;
    until("it is recorded", || async {
        served.database.images().counts().await.unwrap().pending == 1
    })
    .await;
    drop(sent);

    let again = send_under(&served, "mine", "a.png", &[1; 1000]).await;
    assert_eq!(again.status(), StatusCode::OK);
    let answer: Value = again.json().await.unwrap();
    assert_eq!(answer["duplicate"], true);
    let id = answer["id"].as_i64().unwrap();
    let record = served.database.images().get(id).await.unwrap().unwrap();
    assert_eq!(answer["path"], record.image.path);
    assert_eq!(answer["status"], "pending");
    assert_eq!(objects(&served).len(), 1);
    assert_eq!(uploads_begun(&served).await, 0);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 1);
}

#[tokio::test]
async fn another_file_under_the_same_key_is_answered_with_the_first_record() {
    let served = Served::with_store(Limits::default()).await;
    let first: Value = send_under(&served, "mine", "a.png", b"bytes")
        .await
        .json()
        .await
        .unwrap();
    let other = send_under(&served, "mine", "b.png", b"other bytes").await;
    assert_eq!(other.status(), StatusCode::OK);
    let other: Value = other.json().await.unwrap();
    assert_eq!((&other["id"], &other["path"]), (&first["id"], &first["path"]));
    let third = send_under(&served, "theirs", "a.png", b"bytes").await;
    assert_eq!(
        third.status(),
        StatusCode::ACCEPTED,
        "another key is another upload"
    );
    let without = send_file(&served, "a.png", b"bytes").await;
    assert_eq!(without.status(), StatusCode::ACCEPTED);
    assert_eq!(objects(&served).len(), 3);
}

#[tokio::test]
async fn while_an_upload_is_under_way_the_same_is_told_to_come_later() {
    let served = Served::with_store(Limits::default()).await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let mut slow = Slow::begin_under(&served, "mine", body.len(), &body[..300_000]).await;
    until("the upload runs", || async { !objects(&served).is_empty() }).await;

    let second = send_under(&served, "mine", "a.png", &[1; 400_000]).await;
    assert!(second.headers().contains_key("retry-after"));
    let (kind, detail) = problem(second, StatusCode::CONFLICT).await;
    assert_eq!(kind, "upload-under-way");
    assert!(detail.contains("send it again"), "{detail}");

    slow.go_on(&body[300_000..]).await;
    let answer = slow.answer().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let third = send_under(&served, "mine", "a.png", &[1; 400_000]).await;
    assert_eq!(third.status(), StatusCode::OK);
    assert_eq!(objects(&served).len(), 1);
}

#[tokio::test]
async fn an_upload_that_was_refused_gives_its_key_back() {
    let served = Served::with_store(Limits::default()).await;
    let (kind, _) = problem(
        send_under(&served, "mine", "a.png", b"").await,
        StatusCode::UNPROCESSABLE_ENTITY,
    )
    .await;
    assert_eq!(kind, "file-empty");
    assert_nothing_stays(&served).await;
    let again = send_under(&served, "mine", "a.png", b"bytes").await;
    assert_eq!(again.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn of_two_uploads_under_one_key_at_once_one_is_recorded() {
    let served = Served::with_store(Limits::default()).await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let mut slow = Slow::begin_under(&served, "mine", body.len(), &body[..300_000]).await;
    until("the upload runs", || async { !objects(&served).is_empty() }).await;
    // As if nothing had been heard of its receiver for long.
    served
        .database
        .uploads()
        .hold("mine", &begun(&served).await, std::time::Duration::ZERO)
        .await
        .unwrap();
    let second = send_under(&served, "mine", "a.png", &[2; 400_000]).await;
    assert_eq!(second.status(), StatusCode::ACCEPTED);
    let second: Value = second.json().await.unwrap();

    slow.go_on(&body[300_000..]).await;
    let answer = slow.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(second["path"].as_str().unwrap()), "{answer}");
    assert_eq!(objects(&served).len(), 1, "the other object is removed");
    assert_eq!(uploads_begun(&served).await, 0);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 1);
}

#[tokio::test]
async fn a_key_that_is_no_word_is_refused() {
    let served = Served::with_store(Limits::default()).await;
    for key in ["two words", "", &"x".repeat(256)] {
        let (kind, detail) = problem(
            send_under(&served, key, "a.png", b"bytes").await,
            StatusCode::BAD_REQUEST,
        )
        .await;
        assert_eq!(kind, "idempotency-key-wrong", "{key}");
        assert!(detail.starts_with("Idempotency-Key: "), "{detail}");
    }
    assert_nothing_stays(&served).await;
    let asked = served
        .client
        .post(served.url(TO_A))
        .header("idempotency-key", "mine");
    problem(asked.send().await.unwrap(), StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
}

async fn begun(served: &Served) -> String {
    let mut keys = served
        .database
        .uploads()
        .abandoned(std::time::Duration::ZERO, 10)
        .await
        .unwrap();
    keys.pop().unwrap()
}
