//! Every post that is wrong gets a clear answer, and the receiver goes on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::StatusCode;
use safelight_receiver::Limits;
use serde_json::{Value, json};
use served::{Served, problem, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn assert_goes_on(served: &Served) {
    let response = served.post_image(&served.path("after.jpg")).await;
    assert!(response.status().is_success(), "{}", response.status());
}

async fn refused_path(path: &str) -> String {
    let served = Served::start().await;
    let response = served.post_image(path).await;
    let (kind, detail) = problem(response, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(kind, "path-refused");
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
    assert_goes_on(&served).await;
    detail
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let served = Served::start().await;
    for body in [
        "",
        "path=/a.jpg",
        "{\"path\":",
        "{\"path\":\"/a.jpg\"}}",
        "\u{0}",
        "NaN",
    ] {
        for route in ["/image/post", "/images/post"] {
            let (kind, detail) = problem(served.post(route, body).await, StatusCode::BAD_REQUEST).await;
            assert_eq!(kind, "not-json", "{body}");
            assert!(detail.contains("post a JSON object"), "{detail}");
        }
    }
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn json_that_nests_without_end_is_refused() {
    let served = Served::start().await;
    let body = "[".repeat(1_000_000);
    let (kind, _) = problem(served.post("/image/post", body).await, StatusCode::BAD_REQUEST).await;
    assert_eq!(kind, "not-json");
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_post_without_a_path_is_refused() {
    let served = Served::start().await;
    for body in [
        "{}",
        r#"{"path":""}"#,
        r#"{"path":null}"#,
        r#"{"path":["/a"]}"#,
        "[]",
        "\"/a.jpg\"",
        "7",
    ] {
        let (kind, _) = problem(served.post("/image/post", body).await, StatusCode::BAD_REQUEST).await;
        assert_eq!(kind, "path-missing", "{body}");
    }
    for body in ["{}", r#"{"path":"/a"}"#, r#"{"paths":"/a"}"#, "[]"] {
        let (kind, _) = problem(served.post("/images/post", body).await, StatusCode::BAD_REQUEST).await;
        assert_eq!(kind, "paths-missing", "{body}");
    }
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_path_of_10000_characters_is_refused() {
    refused_path(&format!("/{}", "a".repeat(10_000))).await;
}

#[tokio::test]
async fn a_path_of_more_bytes_than_the_database_keeps_is_refused() {
    let served = Served::start().await;
    // Few characters of many bytes, in names that the file system takes.
    let root = served.path("").len();
    let names = "\u{20ac}".repeat(50) + "/";
    let mut path = served.path(&names.repeat(26));
    path.push_str(&"a".repeat(4097 - root - 26 * names.len()));
    assert_eq!(path.len(), 4097);
    let (kind, detail) = problem(served.post_image(&path).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_eq!(kind, "path-refused");
    assert!(detail.contains("4097 bytes, at most 4096"), "{detail}");
    let taken = served.post_image(&path[..4096]).await;
    assert_eq!(taken.status(), StatusCode::ACCEPTED);
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_path_outside_the_roots_is_refused() {
    refused_path("/etc/passwd").await;
}

#[tokio::test]
async fn a_relative_path_is_refused() {
    refused_path("pictures/a.jpg").await;
}

#[tokio::test]
async fn a_path_that_climbs_out_is_refused() {
    let served = Served::start().await;
    for name in ["../safelight.db", "a/../../safelight.db", "./../../etc/passwd"] {
        let path = format!("{}/{name}", served.pictures.display());
        let (kind, _) = problem(served.post_image(&path).await, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, "path-refused", "{path}");
    }
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_symbolic_link_that_leads_out_is_refused() {
    let served = Served::start().await;
    std::fs::write(served.folder.path().join("secret.jpg"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret.jpg", served.pictures.join("link.jpg")).unwrap();
    std::os::unix::fs::symlink("/etc", served.pictures.join("etc")).unwrap();
    for name in ["link.jpg", "etc/passwd"] {
        let response = served.post_image(&served.path(name)).await;
        let (kind, detail) = problem(response, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, "path-refused", "{name}");
        assert!(
            !detail.contains("secret") && !detail.contains("passwd"),
            "says where the link leads: {detail}"
        );
    }
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_scheme_that_nobody_allowed_is_refused() {
    for path in [
        "http://169.254.169.254/latest",
        "ftp://a/b.jpg",
        "nfs://unknown/a.jpg",
        "javascript:alert(1)",
    ] {
        refused_path(path).await;
    }
}

#[tokio::test]
async fn a_path_with_a_null_in_it_is_refused() {
    let served = Served::start().await;
    let path = served.path("a\0.jpg");
    problem(served.post_image(&path).await, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_with_the_limit() {
    let served = Served::start().await;
    let body = format!("{{\"path\":\"{}\"}}", "a".repeat(5 << 20));
    for route in ["/image/post", "/images/post"] {
        let (kind, detail) = problem(
            served.post(route, body.clone()).await,
            StatusCode::PAYLOAD_TOO_LARGE,
        )
        .await;
        assert_eq!(kind, "body-too-large");
        assert!(detail.contains("4194304"), "{detail}");
    }
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_refused_once_it_is_over_the_limit() {
    let served = Served::start().await;
    let chunks = (0..100).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[b' '; 64 * 1024]))));
    let body = reqwest::Body::wrap(StreamBody::new(tokio_stream::iter(chunks)));
    let (kind, _) = problem(
        served.post("/image/post", body).await,
        StatusCode::PAYLOAD_TOO_LARGE,
    )
    .await;
    assert_eq!(kind, "body-too-large");
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_bulk_post_of_100000_is_refused_with_the_most_that_is_taken() {
    let served = Served::start().await;
    let paths: Vec<Value> = (0..100_000)
        .map(|n| json!({ "path": format!("/p/{n}.jpg") }))
        .collect();
    let response = served
        .post("/images/post", json!({ "paths": paths }).to_string())
        .await;
    let (kind, detail) = problem(response, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(kind, "too-many-entries");
    assert!(
        detail.contains("100000 entries") && detail.contains("10000 are taken"),
        "{detail}"
    );
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn a_wrong_method_is_told_which_are_right() {
    let served = Served::start().await;
    let response = served.get("/image/post").await;
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(
        problem(response, StatusCode::METHOD_NOT_ALLOWED).await.0,
        "method-not-allowed"
    );
    let response = served.post("/images/1", "{}").await;
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(
        problem(response, StatusCode::METHOD_NOT_ALLOWED).await.0,
        "method-not-allowed"
    );
}

#[tokio::test]
async fn an_unknown_address_is_told_where_images_are_taken() {
    let served = Served::start().await;
    let (kind, detail) = problem(served.post("/image", "{}").await, StatusCode::NOT_FOUND).await;
    assert_eq!(kind, "not-found");
    assert!(detail.contains("POST /image/post"), "{detail}");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up_and_its_memory_given_back() {
    let limits = Limits {
        request_seconds: 2,
        body_memory_bytes: 4 << 20,
        ..Limits::default()
    };
    let served = Served::with_limits(limits).await;
    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    // Takes up all the memory for bodies, and then sends nothing.
    stalled
        .write_all(b"POST /image/post HTTP/1.1\r\nhost: x\r\ncontent-length: 4194304\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let read = stalled.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body-late"), "{answer}");
    assert_goes_on(&served).await;
}

#[tokio::test]
async fn one_request_more_than_allowed_is_answered_503_while_probes_still_work() {
    let limits = Limits {
        concurrent_requests: 1,
        ..Limits::default()
    };
    let served = Served::with_limits(limits).await;
    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    stalled
        .write_all(b"POST /image/post HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        .await
        .unwrap();
    until("the receiver is full", || async {
        served.get("/").await.status() == 503
    })
    .await;
    let response = served.get("/").await;
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(
        problem(response, StatusCode::SERVICE_UNAVAILABLE).await.0,
        "overloaded"
    );
    assert_eq!(served.get("/alive").await.text().await.unwrap(), "OK");
    let targets = served.get("/mesh").await.text().await.unwrap();
    assert_eq!(targets, r#"{"targets":[]}"#, "it calls nobody");
    assert!(served.get("/metrics").await.status().is_success());
    drop(stalled);
    until("the receiver takes requests again", || async {
        served.get("/").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_after_posting_loses_nothing() {
    let served = Served::start().await;
    let body = json!({ "path": served.path("gone.jpg") }).to_string();
    let mut caller = TcpStream::connect(served.address).await.unwrap();
    let request = format!(
        "POST /image/post HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write_all(request.as_bytes()).await.unwrap();
    drop(caller);
    // Whether it was recorded or not is open; posting again settles it, and never records it twice.
    let response = served.post_image(&served.path("gone.jpg")).await;
    assert!(response.status().is_success());
    assert_eq!(served.database.images().counts().await.unwrap().pending, 1);
}

#[tokio::test]
async fn while_the_database_is_away_posts_are_answered_503_and_nothing_is_ready() {
    let served = Served::start().await;
    served.database.close().await;
    let response = served.post_image(&served.path("a.jpg")).await;
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(
        problem(response, StatusCode::SERVICE_UNAVAILABLE).await.0,
        "database-away"
    );
    let (kind, _) = problem(served.get("/").await, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "database-away");
    until("not ready", || async {
        served.get("/ready").await.status() == 503
    })
    .await;
    assert_eq!(served.get("/alive").await.status(), 200);
    served.shutdown.trigger();
    let ended = tokio::time::timeout(Duration::from_secs(10), served.task).await;
    ended
        .expect("it ends although the database is away")
        .unwrap()
        .unwrap();
}
