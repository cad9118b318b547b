//! What should not be sent gets a clear answer, and the service goes on.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::os::unix::fs::symlink;

use support::fixtures::{headers, jpeg};
use support::photographs::{self, photograph};
use support::{Place, Server, require_models};
use tonic::Code;

/// Sends a URI to both services and expects the same answer of both.
async fn refusal(server: &Server, uri: &str) -> (Code, String) {
    let identify = server.identify(uri).await.expect_err("it should be refused");
    let recognize = server.recognize(uri).await.expect_err("it should be refused");
    assert_eq!(
        (identify.code(), identify.message()),
        (recognize.code(), recognize.message())
    );
    (identify.code(), identify.message().to_owned())
}

#[tokio::test]
async fn each_bad_picture_is_answered_by_name_and_the_next_good_one_is_recognized() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let good = place.sample("obama2.jpg");
    let whole = std::fs::read(support::sample("obama3.jpg")).unwrap();
    let half = &whole[..whole.len() / 2];
    let missing = place.path("pictures/none.jpg").to_str().unwrap().to_owned();
    for (uri, code, message) in [
        (missing, Code::NotFound, "there is no such file"),
        (
            place.picture("empty.jpg", b""),
            Code::InvalidArgument,
            "the file is empty",
        ),
        (
            place.picture("half.jpg", half),
            Code::InvalidArgument,
            "it is cut off before its end",
        ),
        (
            place.picture("text.jpg", b"no picture\n"),
            Code::InvalidArgument,
            "the file is not a picture",
        ),
        (
            place.picture("huge.png", &headers::png_claiming(60_000, 60_000)),
            Code::InvalidArgument,
            "60000 pixels on one side, at most 20000 are allowed",
        ),
        (
            place.picture("large.png", &headers::png_claiming(20_000, 20_000)),
            Code::InvalidArgument,
            "400000000 pixels, at most 50000000 are allowed",
        ),
        (
            place.picture("huge.gif", &headers::gif_claiming(65_535, 32_767)),
            Code::InvalidArgument,
            "too large",
        ),
    ] {
        let (found, text) = refusal(&server, &uri).await;
        assert_eq!(found, code, "{uri}: {text}");
        assert!(text.contains(message), "{uri}: {text}");
        assert!(
            !text.contains(place.path("").to_str().unwrap()),
            "the answer shows a folder: {text}"
        );
        assert_eq!(
            server.identify(&good).await.unwrap(),
            "obama_1.jpg",
            "after {uri}"
        );
    }
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_refused() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let pictures = place.path("pictures").to_str().unwrap().to_owned();
    symlink(support::sample("obama2.jpg"), place.path("pictures/out.jpg")).unwrap();
    for uri in [
        String::new(),
        "obama.jpg".to_owned(),
        "/etc/passwd".to_owned(),
        format!("{pictures}/../known/obama_1.jpg"),
        format!("{pictures}/out.jpg"),
        format!("{pictures}/{}", "x".repeat(10_000)),
        format!("{pictures}/a\0.jpg"),
        "http://127.0.0.1/a.jpg".to_owned(),
        "nfs://nowhere/a.jpg".to_owned(),
        pictures.clone(),
    ] {
        let (code, text) = refusal(&server, &uri).await;
        assert_eq!(code, Code::InvalidArgument, "{uri:?}: {text}");
        assert!(text.starts_with("the path is refused"), "{uri:?}: {text}");
    }
}

#[tokio::test]
async fn storage_that_is_away_is_not_the_pictures_fault() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let uri = place.sample("obama2.jpg");
    std::fs::rename(place.path("pictures"), place.path("away")).unwrap();
    let (code, text) = refusal(&server, &uri).await;
    assert_eq!(code, Code::Aborted);
    assert!(text.starts_with("the storage could not be read"), "{text}");
    std::fs::rename(place.path("away"), place.path("pictures")).unwrap();
    assert_eq!(server.identify(&uri).await.unwrap(), "obama_1.jpg");
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_before_it_is_read() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let (code, _) = refusal(&server, &"x".repeat(1 << 20)).await;
    assert_eq!(code, Code::OutOfRange);
    assert_eq!(
        server.identify(&place.sample("obama2.jpg")).await.unwrap(),
        "obama_1.jpg"
    );
}

#[tokio::test]
async fn more_than_the_queue_holds_is_answered_at_once() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start_with(&["--recognizer-queue", "2"], None).await;
    server.serving().await;
    let uri = place.picture(
        "large.jpg",
        &jpeg(&photographs::scaled(&photograph("obama3.jpg"), 2000, 3254)),
    );
    let answers = support::join_all((0..20).map(|_| server.identify(&uri))).await;
    let known = answers
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|name| name == "obama_1.jpg"))
        .count();
    let full = answers.iter().filter_map(|answer| answer.as_ref().err());
    let full: Vec<Code> = full.map(tonic::Status::code).collect();
    // The one that is worked on, and those that wait.
    assert!((2..=4).contains(&known), "{known} were recognized");
    assert_eq!(full, vec![Code::ResourceExhausted; 20 - known]);
    assert_eq!(server.identify(&uri).await.unwrap(), "obama_1.jpg");
}
