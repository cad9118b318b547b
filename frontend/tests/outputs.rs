//! What was made of an image, on its page and by itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use std::time::Duration;

use reqwest::StatusCode;
use safelight_database::{ClaimOutcome, Fault, NewBatch, NewImage, NewOutput, Prepared, TaskKind};
use served::Served;

const LEASE: Duration = Duration::from_secs(60);

/// A film of which a frame was made and an animation could not be.
async fn film(served: &Served) -> i64 {
    let path = served.path("clip.mp4");
    std::fs::write(&path, b"no browser shows this").unwrap();
    let batch = NewBatch {
        email: Some("a@example.org".to_owned()),
        ..NewBatch::default()
    };
    let image = NewImage { path, project: None };
    let images = served.database.images();
    let id = images.accept_batch(&batch, &[image]).await.unwrap()[0].id;
    let tasks = served.database.tasks();
    let claim = async |kind: &str| {
        let detail = images.get(id).await.unwrap().unwrap();
        let task = detail.tasks.iter().find(|task| task.kind == kind).unwrap().id;
        let kind = TaskKind::ALL
            .into_iter()
            .find(|known| known.as_str() == kind)
            .unwrap();
        match tasks.claim_subject(task, kind, LEASE).await.unwrap() {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        }
    };
    let prepared = Prepared {
        content_type: "video/mp4".to_owned(),
        bytes: 21,
        width: 640,
        height: 272,
        tasks: vec![TaskKind::Frame, TaskKind::Gif],
    };
    tasks
        .complete_prepare(&claim("prepare").await, &prepared)
        .await
        .unwrap();
    let frame = served.path("clip_f.png");
    std::fs::write(&frame, [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 40]].concat()).unwrap();
    let output = NewOutput {
        role: "frame".to_owned(),
        uri: frame,
        content_type: "image/png".to_owned(),
        width: 640,
        height: 272,
        bytes: 48,
        blake3: [7; 32],
    };
    tasks
        .complete_outputs(&claim("frame").await, &[output])
        .await
        .unwrap();
    let why = "it took longer than 60 seconds";
    tasks
        .fail(&claim("gif").await, Fault::Timeout, why)
        .await
        .unwrap();
    id
}

#[tokio::test]
async fn the_page_of_a_film_shows_what_was_made_of_it_what_was_not_and_who_is_told() {
    let served = Served::start().await;
    let id = film(&served).await;
    let page = served.page(&format!("/images/{id}")).await;
    assert!(
        page.contains(&format!("<img src=\"/images/{id}/outputs/frame\"")),
        "{page}"
    );
    assert!(page.contains("video/mp4") && page.contains("640 × 272"), "{page}");
    assert!(
        page.contains("1 of 3 tasks failed: gif: it took longer than 60 seconds"),
        "{page}"
    );
    assert!(
        page.contains("id=\"job\"") && page.contains("to be sent"),
        "{page}"
    );
    assert!(
        !page.contains("id=\"faces\""),
        "nobody looks for faces in a film: {page}"
    );
}

#[tokio::test]
async fn an_output_is_data_and_nothing_a_browser_would_run() {
    let served = Served::start().await;
    let id = film(&served).await;
    let answer = served.get(&format!("/images/{id}/outputs/frame")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(
        answer.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert_eq!(answer.bytes().await.unwrap().len(), 48);
}

#[tokio::test]
async fn a_list_shows_the_frame_of_a_film() {
    let served = Served::start().await;
    let id = film(&served).await;
    let preview = served.get(&format!("/images/{id}/preview")).await;
    assert_eq!(preview.headers()["content-type"], "image/png");
}

#[tokio::test]
async fn what_was_not_made_is_not_found() {
    let served = Served::start().await;
    let id = film(&served).await;
    for path in [
        format!("/images/{id}/outputs/animation"),
        "/images/999/outputs/frame".to_owned(),
    ] {
        assert_eq!(served.get(&path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}
