//! Uploads that are wrong: each gets a clear answer, and nothing of it stays.

use std::convert::Infallible;

use axum::body::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::StatusCode;
use safelight_receiver::{Limits, UploadLimits};

use crate::forms::{
    BOUNDARY, Slow, TO_A, assert_nothing_is_recorded, assert_nothing_stays, file, form, part, refused, send,
    send_file, with_uploads,
};
use crate::served::{Served, problem};

async fn kind_of(path: &str, body: Vec<u8>, status: StatusCode) -> (String, String) {
    let served = Served::with_store(Limits::default()).await;
    let told = refused(&served, path, body, status).await;
    let after = send_file(&served, "after.png", b"bytes").await;
    assert_eq!(after.status(), StatusCode::ACCEPTED, "it does not go on");
    told
}

#[tokio::test]
async fn a_form_without_a_file_is_refused() {
    for parts in [
        vec![],
        vec![part("name=\"picture\"; filename=\"a.png\"", b"bytes")],
    ] {
        let (kind, detail) = kind_of(TO_A, form(&parts), StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, "file-missing");
        assert!(detail.contains("'data'"), "{detail}");
    }
}

#[tokio::test]
async fn two_files_at_once_are_refused() {
    let body = form(&[file("a.png", b"one"), file("b.png", b"other")]);
    let (kind, _) = kind_of(TO_A, body, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(kind, "files-many");
}

#[tokio::test]
async fn an_empty_file_is_refused() {
    let body = form(&[file("a.png", b"")]);
    let (kind, _) = kind_of(TO_A, body, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(kind, "file-empty");
}

#[tokio::test]
async fn an_upload_that_nobody_is_told_of_is_refused() {
    for path in [
        "/prepare",
        "/prepare?email=",
        "/prepare?email=&webhook=&project=door",
    ] {
        let body = form(&[file("a.png", b"bytes")]);
        let (kind, detail) = kind_of(path, body, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, "address-missing");
        assert!(detail.contains("?email="), "{detail}");
    }
}

#[tokio::test]
async fn a_wrong_address_is_refused() {
    for (query, wanted) in [
        ("email=a", "email-refused"),
        ("email=a@b", "email-refused"),
        ("email=a@b.c%0D%0ABcc:%20x@y.z", "email-refused"),
        ("email=a@b.c%0A", "email-refused"),
        ("email=a%00@b.c", "email-refused"),
        ("email=A%20%3Ca@b.c%3E", "email-refused"),
        ("email=a@b.c,x@y.z", "email-refused"),
        ("email=a+b@b.c", "email-refused"),
        ("webhook=http://example.org/", "webhook-refused"),
        ("webhook=https://user:pa55word@example.org/", "webhook-refused"),
        ("webhook=https://example.org:25/", "webhook-refused"),
        ("email=a@b.c&webhook=nonsense", "webhook-refused"),
    ] {
        let body = form(&[file("a.png", b"bytes")]);
        let path = format!("/prepare?{query}");
        let (kind, detail) = kind_of(&path, body, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, wanted, "{query}");
        assert!(!detail.contains("pa55word"), "{detail}");
    }
}

#[tokio::test]
async fn a_wrong_query_is_refused() {
    let long = format!("project={}", "p".repeat(256));
    for query in ["at=yesterday", "at=-1", "at=NaN", &long] {
        let body = form(&[file("a.png", b"bytes")]);
        let (kind, _) = kind_of(&format!("{TO_A}&{query}"), body, StatusCode::BAD_REQUEST).await;
        assert_eq!(kind, "query-wrong", "{query}");
    }
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let served = Served::with_store(Limits::default()).await;
    for kind in ["application/json", "multipart/form-data", "image/png", ""] {
        let request = served
            .client
            .post(served.url(TO_A))
            .header("content-type", kind)
            .body("bytes");
        let told = problem(request.send().await.unwrap(), StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
        assert_eq!(told.0, "not-a-form", "{kind}");
    }
    assert_nothing_stays(&served).await;
}

#[tokio::test]
async fn a_form_that_is_not_as_it_should_be_is_refused() {
    let file = || file("a.png", b"bytes");
    let note = || part("name=\"note\"", b"n");
    let nul =
        b"--between\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a\0.png\"\r\n\r\nb\r\n"
            .to_vec();
    for (why, body) in [
        ("empty", Vec::new()),
        ("no form", b"bytes".to_vec()),
        ("no end", file()),
        (
            "no end of the file",
            format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nbyt").into_bytes(),
        ),
        (
            "another boundary",
            String::from_utf8(form(&[file()]))
                .unwrap()
                .replace(BOUNDARY, "beside")
                .into_bytes(),
        ),
        ("a NUL in a header", form(&[nul])),
        (
            "nine parts",
            form(&[
                note(),
                note(),
                note(),
                note(),
                note(),
                note(),
                note(),
                note(),
                file(),
            ]),
        ),
        (
            "a long part beside it",
            form(&[part("name=\"note\"", &[b'n'; 4097]), file()]),
        ),
        (
            "a header without end",
            [b"--between\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
        ),
        ("a beginning without end", vec![b'x'; 1 << 20]),
    ] {
        let (kind, detail) = kind_of(TO_A, body, StatusCode::BAD_REQUEST).await;
        assert_eq!(kind, "form-wrong", "{why}: {detail}");
    }
}

#[tokio::test]
async fn a_file_over_the_limit_is_refused_with_and_without_a_known_length() {
    let served = Served::with_store(with_uploads(UploadLimits {
        bytes: 300_000,
        ..UploadLimits::default()
    }))
    .await;
    let allowed = send_file(&served, "a.png", &[1; 300_000]).await;
    assert_eq!(allowed.status(), StatusCode::ACCEPTED);
    let served = Served::with_store(with_uploads(UploadLimits {
        bytes: 300_000,
        ..UploadLimits::default()
    }))
    .await;
    for length in [300_001, 1_000_000] {
        let body = form(&[file("a.png", &vec![1; length])]);
        let (kind, detail) = refused(&served, TO_A, body.clone(), StatusCode::PAYLOAD_TOO_LARGE).await;
        assert_eq!(kind, "upload-too-large");
        assert!(detail.contains("300000 bytes"), "{detail}");

        let pieces: Vec<Result<Frame<Bytes>, Infallible>> = body
            .chunks(50_000)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let streamed = reqwest::Body::wrap(StreamBody::new(tokio_stream::iter(pieces)));
        let told = problem(send(&served, TO_A, streamed).await, StatusCode::PAYLOAD_TOO_LARGE).await;
        assert_eq!(told.0, "upload-too-large");
        assert_nothing_stays(&served).await;
    }
}

#[tokio::test]
async fn without_a_store_an_upload_is_refused_and_says_what_to_set() {
    let served = Served::start().await;
    let response = send_file(&served, "a.png", b"bytes").await;
    let (kind, detail) = problem(response, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "store-not-set");
    assert!(detail.contains("STORAGE_URL"), "{detail}");
    assert_nothing_is_recorded(&served).await;
}

#[tokio::test]
async fn a_store_that_is_away_is_told_and_nothing_is_recorded() {
    let served = Served::with_store(Limits::default()).await;
    // Where its folder should be there is a file.
    std::fs::write(served.folder.path().join("store"), "").unwrap();
    let response = send_file(&served, "a.png", b"bytes").await;
    let (kind, _) = problem(response, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "store-away");
    assert_nothing_stays(&served).await;

    std::fs::remove_file(served.folder.path().join("store")).unwrap();
    assert_eq!(
        send_file(&served, "a.png", b"bytes").await.status(),
        StatusCode::ACCEPTED
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_told_and_nothing_stays() {
    let served = Served::with_store(Limits::default()).await;
    served.database.close().await;
    let response = send_file(&served, "a.png", b"bytes").await;
    let (kind, _) = problem(response, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "database-away");
    assert_eq!(
        crate::forms::objects(&served),
        [""; 0].map(std::path::PathBuf::from)
    );
}

#[tokio::test]
async fn an_upload_that_stops_coming_is_given_up() {
    let served = Served::with_store(with_uploads(UploadLimits {
        stall_seconds: 1,
        ..UploadLimits::default()
    }))
    .await;
    let mut slow = Slow::begin(&served, 1_000_000, &file("a.png", &[1; 200_000])).await;
    let answer = slow.answer().await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("upload-stalled"),
        "{answer}"
    );
    assert_nothing_stays(&served).await;
}

#[tokio::test]
async fn an_upload_that_takes_too_long_is_given_up() {
    let served = Served::with_store(with_uploads(UploadLimits {
        seconds: 1,
        ..UploadLimits::default()
    }))
    .await;
    let mut slow = Slow::begin(&served, 1_000_000, &file("a.png", &[1; 200_000])).await;
    let answer = slow.answer().await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("upload-late"),
        "{answer}"
    );
    assert_nothing_stays(&served).await;
}

#[tokio::test]
async fn a_sender_that_asks_first_is_refused_before_it_sends_anything() {
    let served = Served::with_store(Limits::default()).await;
    let mut asking = Slow::ask(&served, "/prepare?email=nobody", 1 << 30).await;
    let answer = asking.answer().await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    let mut asking = Slow::ask(&served, TO_A, 1 << 40).await;
    let answer = asking.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
