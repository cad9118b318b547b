use std::sync::{Arc, Mutex};
use std::time::Duration;

use safelight_mesh::server::deadline::{self, Deadline};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::facerecog::{Bare, LONG, Recognizer, Serving, identify, within};

/// Calls the next service with what is left of its own time.
fn relay(next: Bare) -> Recognizer {
    Recognizer::new(move |_| {
        let next = next.clone();
        async move {
            let left = deadline::remaining().unwrap_or(LONG).as_nanos();
            next.identify_within(&format!("{}m", left.div_ceil(1_000_000)))
                .await
        }
    })
}

#[tokio::test]
async fn a_deadline_ends_the_work_of_the_second_of_two_services() {
    let second = Serving::start(Recognizer::stuck()).await;
    let first = Serving::start(relay(second.bare().await)).await;
    let began = Instant::now();
    let call = tokio::spawn({
        let bare = first.bare().await;
        async move { bare.identify_within("300m").await }
    });
    second.work.reaches(1).await;
    second.work.reaches(0).await;
    let cancelled = began.elapsed();
    let status = call.await.unwrap().unwrap_err();
    first.work.reaches(0).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    // The rest is what a busy machine takes.
    let on_time = Duration::from_millis(290)..Duration::from_millis(900);
    assert!(on_time.contains(&cancelled), "{cancelled:?}");
    assert!(on_time.contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(second.work.begun(), 1);
}

#[tokio::test]
async fn the_work_of_a_caller_who_has_gone_is_dropped_in_both_of_two_services() {
    let second = Serving::start(Recognizer::stuck()).await;
    let first = Serving::start(relay(second.bare().await)).await;
    let channel = first.channel().await;
    let call = tokio::spawn(async move { identify(&channel).await });
    second.work.reaches(1).await;
    call.abort();
    first.work.reaches(0).await;
    second.work.reaches(0).await;
}

#[tokio::test]
async fn the_work_of_a_connection_that_broke_is_dropped() {
    let serving = Serving::start(Recognizer::stuck()).await;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let address = serving.address;
    runtime.spawn(async move {
        let mut client = IdentifyClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        client.identify(IdentifyRequest::default()).await
    });
    serving.work.reaches(1).await;
    // All of the client ends in one stroke, without a word over HTTP/2.
    runtime.shutdown_background();
    serving.work.reaches(0).await;
}

#[tokio::test]
async fn time_that_is_up_is_not_begun_with() {
    let serving = Serving::start(Recognizer::echo()).await;
    let bare = serving.bare().await;
    let status = bare.identify_within("0n").await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(serving.work.begun(), 0);
}

#[tokio::test]
async fn a_handler_knows_its_deadline_and_so_do_its_request_and_what_it_spawns_with_it() {
    let seen: Arc<Mutex<Vec<Option<Duration>>>> = Arc::default();
    let recognizer = Recognizer::new({
        let seen = seen.clone();
        move |request| {
            let seen = seen.clone();
            async move {
                let at = request
                    .extensions()
                    .get::<Deadline>()
                    .map(|deadline| deadline.at());
                assert_eq!(at, deadline::current());
                let lost = tokio::spawn(async { deadline::current() }).await.unwrap();
                assert_eq!(lost, None);
                let kept = tokio::spawn(deadline::scope(at, async { deadline::current() }));
                assert_eq!(kept.await.unwrap(), at);
                seen.lock().unwrap().push(deadline::remaining());
                Ok::<_, Status>(String::new())
            }
        }
    });
    let serving = Serving::start(recognizer).await;
    let bare = serving.bare().await;
    bare.identify_within("5S").await.unwrap();
    // What cannot be read is as if it were not there.
    bare.identify_within("5 seconds").await.unwrap();
    bare.identify_within("99999999H").await.unwrap();
    let seen = seen.lock().unwrap();
    let left = seen[0].unwrap();
    assert!(
        left <= Duration::from_secs(5) && left > Duration::from_secs(4),
        "{left:?}"
    );
    assert_eq!(seen[1], None);
    assert!(seen[2].is_some());
    assert_eq!(deadline::current(), None);
}

#[tokio::test]
async fn a_call_without_a_deadline_is_given_its_time() {
    let serving = Serving::start(Recognizer::new(async |_| {
        assert_eq!(deadline::remaining(), None);
        Ok("answered".to_owned())
    }))
    .await;
    let channel = serving.channel().await;
    assert_eq!(within(identify(&channel)).await.unwrap(), "answered");
}
