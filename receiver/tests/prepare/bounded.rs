//! However many uploads there are, and however large, a receiver holds little of them.

use reqwest::StatusCode;
use safelight_receiver::{Limits, UploadLimits};

use crate::forms::{Slow, file, form, objects, send_file, uploads_begun, with_uploads};
use crate::served::{Served, problem, until};

/// The size of all files in the store.
fn stored(served: &Served) -> u64 {
    let sizes = objects(served)
        .into_iter()
        .map(|path| path.metadata().map_or(0, |metadata| metadata.len()));
    sizes.sum()
}

#[tokio::test]
async fn uploads_that_find_no_slot_wait_and_all_land() {
    let served = Served::with_store(with_uploads(UploadLimits {
        at_once: Some(2),
        ..UploadLimits::default()
    }))
    .await;
    let sending = (0..64_u8).map(|number| {
        let served = &served;
        async move { send_file(served, "a.png", &vec![number; 100_000]).await.status() }
    });
    let sent: Vec<StatusCode> = futures_of(sending).await;
    assert_eq!(sent, [StatusCode::ACCEPTED; 64]);
    assert_eq!(objects(&served).len(), 64);
    assert_eq!(stored(&served), 6_400_000);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 64);
    assert_eq!(uploads_begun(&served).await, 0);
}

/// Runs all of them at once, in this task.
async fn futures_of<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<_> = futures.map(tokio_test::task::spawn).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    while outputs.iter().any(Option::is_none) {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.poll()
            {
                *output = Some(value);
            }
        }
        tokio::task::yield_now().await;
    }
    outputs.into_iter().flatten().collect()
}

#[tokio::test]
async fn of_an_upload_that_waits_nothing_is_begun() {
    let served = Served::with_store(with_uploads(UploadLimits {
        at_once: Some(1),
        ..UploadLimits::default()
    }))
    .await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let mut first = Slow::begin(&served, body.len(), &body[..300_000]).await;
    until("the first has the slot", || async {
        !objects(&served).is_empty()
    })
    .await;
    let mut second = Slow::begin(&served, body.len(), &body).await;
    // Each is a request that the receiver answers meanwhile.
    for _ in 0..50 {
        assert_eq!(served.get("/").await.status(), StatusCode::OK);
        assert_eq!(uploads_begun(&served).await, 1);
    }
    first.go_on(&body[300_000..]).await;
    for upload in [&mut first, &mut second] {
        let answer = upload.answer().await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    assert_eq!(objects(&served).len(), 2);
}

#[tokio::test]
async fn when_too_many_wait_one_more_is_told_to_come_later() {
    let served = Served::with_store(with_uploads(UploadLimits {
        at_once: Some(1),
        waiting: 0,
        ..UploadLimits::default()
    }))
    .await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let mut first = Slow::begin(&served, body.len(), &body[..300_000]).await;
    until("the first has a slot", || async { !objects(&served).is_empty() }).await;
    let response = send_file(&served, "b.png", b"bytes").await;
    assert!(response.headers().contains_key("retry-after"));
    let (kind, _) = problem(response, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "overloaded");

    first.go_on(&body[300_000..]).await;
    let answer = first.answer().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let after = send_file(&served, "b.png", b"bytes").await;
    assert_eq!(after.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn uploads_do_not_take_the_places_of_other_requests() {
    let served = Served::with_store(Limits {
        concurrent_requests: 1,
        ..Limits::default()
    })
    .await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let _first = Slow::begin(&served, body.len(), &body[..300_000]).await;
    until("the upload runs", || async { !objects(&served).is_empty() }).await;
    let posted = served.post_image(&served.path("b.png")).await;
    assert_eq!(posted.status(), StatusCode::ACCEPTED);
}

/// What was sent of a file lies in the store while the rest has not been sent.
#[tokio::test]
async fn a_file_goes_to_the_store_while_it_comes() {
    let served = Served::with_store(Limits::default()).await;
    let body = form(&[file("a.mp4", &vec![1; 32 << 20])]);
    let half = body.len() / 2;
    let mut slow = Slow::begin(&served, body.len(), &body[..half]).await;
    until("all but a little of the half lies in the store", || async {
        stored(&served) + (512 << 10) > half as u64
    })
    .await;
    slow.go_on(&body[half..]).await;
    let answer = slow.answer().await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(stored(&served), 32 << 20);
}
