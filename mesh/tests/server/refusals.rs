use std::time::Duration;

use safelight_mesh::server::ServerSettings;
use safelight_mesh::{CallFailure, failure_of};
use safelight_proto::facerecog::IdentifyRequest;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::{Code, Request};

use crate::facerecog::{Recognizer, Serving, ask, identify};
use crate::health;

fn one_at_a_time() -> ServerSettings {
    ServerSettings {
        max_in_flight: 1,
        ..ServerSettings::default()
    }
}

#[tokio::test]
async fn what_is_over_the_limit_is_refused_at_once_and_the_place_is_given_back() {
    let serving = Serving::start_with(Recognizer::stuck(), one_at_a_time()).await;
    let channel = serving.channel().await;
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { identify(&channel).await }
    });
    serving.work.reaches(1).await;

    let refused = identify(&channel).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.message(), "1 calls are in flight, and no more are taken");
    assert!(refused.metadata().get("grpc-retry-pushback-ms").is_none());
    assert_eq!(failure_of(&refused), CallFailure::Overloaded);
    assert_eq!(serving.work.begun(), 1);

    // Whoever gives up makes room.
    first.abort();
    serving.work.reaches(0).await;
    let second = tokio::spawn(async move { identify(&channel).await });
    serving.work.reaches(1).await;
    second.abort();
}

#[tokio::test]
async fn a_refused_call_is_told_when_to_come_back_where_that_is_set() {
    let settings = ServerSettings {
        shed_pushback: Some(Duration::from_millis(250)),
        ..one_at_a_time()
    };
    let serving = Serving::start_with(Recognizer::stuck(), settings).await;
    let channel = serving.channel().await;
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { identify(&channel).await }
    });
    serving.work.reaches(1).await;
    let refused = identify(&channel).await.unwrap_err();
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "250");
    first.abort();
}

#[tokio::test]
async fn health_and_reflection_are_answered_by_a_full_server() {
    let serving = Serving::start_with(Recognizer::stuck(), one_at_a_time()).await;
    let channel = serving.channel().await;
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { identify(&channel).await }
    });
    serving.work.reaches(1).await;
    let _watching = health::watch(&channel, "").await;
    assert!(health::check(&channel, "").await.is_ok());
    assert!(!health::reflected_v1(&channel).await.is_empty());
    first.abort();
}

#[tokio::test]
async fn work_that_cannot_be_done_in_the_time_left_is_refused_before_it_is_begun() {
    let pace = watch::channel(Duration::from_millis(40)).0;
    let recognizer = Recognizer::new({
        let pace = pace.clone();
        move |_| {
            let work = *pace.borrow();
            async move {
                tokio::time::sleep(work).await;
                Ok(String::new())
            }
        }
    });
    let serving = Serving::start(recognizer).await;
    let channel = serving.channel().await;
    let bare = serving.bare().await;
    // As long as little is known, everything is tried.
    let tried = bare.identify_within("3m").await.unwrap_err();
    assert_eq!(
        tried.message(),
        "the deadline passed while the call was worked on"
    );
    let calls = (0..24).map(|_| identify(&channel));
    futures::future::try_join_all(calls).await.unwrap();

    let begun = serving.work.begun();
    let mut refused = 0;
    for _ in 0..20 {
        let status = bare.identify_within("3m").await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        if status
            .message()
            .starts_with("cannot be done in the 2 ms left; the usual time is ")
        {
            refused += 1;
        }
    }
    assert_eq!(refused, 18, "one of ten is let through");
    assert_eq!(serving.work.begun() - begun, 2);
    // Whoever has the time, or gives none, is served.
    assert!(bare.identify_within("5S").await.is_ok());
    assert!(identify(&channel).await.is_ok());

    // The method became faster, and the calls that are let through find out.
    pace.send_replace(Duration::ZERO);
    let began = Instant::now();
    while bare.identify_within("20m").await.is_err() || bare.identify_within("20m").await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it never heals");
    }
}

#[tokio::test]
async fn a_panic_is_internal_and_neither_the_connection_nor_the_place_is_lost() {
    let recognizer = Recognizer::new(async |request: Request<IdentifyRequest>| {
        match request.into_inner().image_path.as_str() {
            "" => Ok("well".to_owned()),
            why => panic!("{why}"),
        }
    });
    let serving = Serving::start_with(recognizer, one_at_a_time()).await;
    let channel = serving.channel().await;
    for _ in 0..3 {
        let image_path = "a secret".to_owned();
        let panicked = ask(&channel, Request::new(IdentifyRequest { image_path })).await;
        let status = panicked.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::Internal, "the handler panicked")
        );
        assert_eq!(identify(&channel).await.unwrap(), "well");
    }
    assert_eq!(serving.work.running(), 0);
}

#[tokio::test]
async fn headers_over_their_limit_are_refused_and_the_connection_lives() {
    let settings = ServerSettings {
        max_header_bytes: 2048,
        ..ServerSettings::default()
    };
    let serving = Serving::start_with(Recognizer::echo(), settings).await;
    let channel = serving.channel().await;
    let mut large = Request::new(IdentifyRequest::default());
    large
        .metadata_mut()
        .insert("padding", "a".repeat(4096).parse().unwrap());
    assert!(ask(&channel, large).await.is_err());
    assert_eq!(serving.work.begun(), 0);
    assert!(identify(&channel).await.is_ok());
}
