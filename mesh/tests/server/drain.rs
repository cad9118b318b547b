use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safelight_mesh::server::{ServeError, Server, ServerSettings};
use safelight_mesh::{CallFailure, Target, failure_of};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::facerecog::{Recognizer, Serving, identify, within};
use crate::health;

/// Answers when it is told to.
fn held() -> (Recognizer, watch::Sender<bool>) {
    let release = watch::channel(false).0;
    let recognizer = Recognizer::new({
        let release = release.clone();
        move |_| {
            let mut release = release.subscribe();
            async move {
                release.wait_for(|released| *released).await.unwrap();
                Ok("finished".to_owned())
            }
        }
    });
    (recognizer, release)
}

/// Waits until nobody listens any more.
async fn refuses(serving: &Serving) {
    let refused = async {
        while TcpStream::connect(serving.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(refused).await;
}

#[tokio::test]
async fn a_stop_under_load_loses_no_call() {
    // Each call takes another time, so that there is no moment without any.
    let calls = AtomicUsize::new(0);
    let recognizer = Recognizer::new(move |_| {
        let millis = 5 + calls.fetch_add(7, Ordering::SeqCst) % 20;
        async move {
            tokio::time::sleep(Duration::from_millis(millis as u64)).await;
            Ok(String::new())
        }
    });
    let mut serving = Serving::start(recognizer).await;
    let targets: Vec<Target> = (0..4)
        .map(|_| {
            Target::builder("recognizer", format!("http://{}", serving.address))
                .connect()
                .unwrap()
        })
        .collect();
    for target in &targets {
        let mut availability = target.availability();
        within(availability.wait_for(|now| now.is_available()))
            .await
            .unwrap();
    }
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..32)
        .map(|caller| {
            let mut client = IdentifyClient::new(targets[caller % targets.len()].channel());
            let answered = answered.clone();
            tokio::spawn(async move {
                loop {
                    match client.identify(IdentifyRequest::default()).await {
                        Ok(_) => answered.fetch_add(1, Ordering::SeqCst),
                        Err(status) => return status,
                    };
                }
            })
        })
        .collect();
    let loaded = async {
        while answered.load(Ordering::SeqCst) < 500 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(loaded).await;
    serving.stop();
    let work = serving.work.clone();
    let report = serving.ended().await;
    assert!(report.running > 0, "the load was none: {report:?}");
    assert_eq!(report.cut, 0);
    assert!(report.took < ServerSettings::default().drain, "{report:?}");
    for caller in callers {
        let status = within(caller).await.unwrap();
        assert_eq!(failure_of(&status), CallFailure::NotSent, "{status:?}");
    }
    assert_eq!(
        work.begun(),
        answered.load(Ordering::SeqCst),
        "each call was answered"
    );
}

#[tokio::test]
async fn what_runs_is_finished_while_new_connections_are_refused() {
    let (recognizer, release) = held();
    let mut serving = Serving::start(recognizer).await;
    let channel = serving.channel().await;
    let running = tokio::spawn(async move { identify(&channel).await });
    serving.work.reaches(1).await;
    serving.stop();
    refuses(&serving).await;
    release.send_replace(true);
    assert_eq!(within(running).await.unwrap().unwrap(), "finished");
    let report = serving.ended().await;
    assert_eq!((report.running, report.cut), (1, 0));
}

#[tokio::test]
async fn a_stuck_call_is_cut_at_the_end_of_the_drain() {
    let drain = Duration::from_millis(100);
    let settings = ServerSettings {
        drain,
        ..ServerSettings::default()
    };
    let mut serving = Serving::start_with(Recognizer::stuck(), settings).await;
    let channel = serving.channel().await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { identify(&channel).await })
        })
        .collect();
    serving.work.reaches(3).await;
    serving.stop();
    let work = serving.work.clone();
    let report = serving.ended().await;
    assert_eq!((report.running, report.cut), (3, 3));
    assert!(report.took >= drain && report.took < drain * 10, "{report:?}");
    assert_eq!(work.running(), 0, "the handlers were dropped");
    for call in calls {
        let status = within(call).await.unwrap().unwrap_err();
        assert_ne!(failure_of(&status), CallFailure::NotSent, "it was begun");
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_stop_up() {
    let mut serving = Serving::start(Recognizer::echo()).await;
    let channel = serving.channel().await;
    identify(&channel).await.unwrap();
    serving.stop();
    let report = serving.ended().await;
    assert_eq!((report.running, report.cut), (0, 0));
    assert!(report.took < ServerSettings::default().drain / 3, "{report:?}");
}

#[tokio::test]
async fn a_reflection_client_that_stays_does_not_hold_the_stop_up() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    let mut serving = Serving::start(Recognizer::echo()).await;
    let mut silent = ServerReflectionClient::new(serving.channel().await);
    let silent = tokio::spawn(async move {
        let answers = silent.server_reflection_info(tokio_stream::pending()).await?;
        answers.into_inner().message().await
    });
    let mut asking = ServerReflectionClient::new(serving.channel().await);
    let question = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let questions = tokio_stream::once(question).chain(tokio_stream::pending());
    let answers = within(asking.server_reflection_info(questions)).await;
    let mut answers = answers.unwrap().into_inner();
    within(answers.message()).await.unwrap();
    serving.stop();
    assert!(within(answers.message()).await.unwrap().is_none());
    assert!(within(silent).await.unwrap().unwrap().is_none());
    let report = serving.ended().await;
    assert!(report.took < ServerSettings::default().drain / 3, "{report:?}");
}

#[tokio::test]
async fn with_notice_calls_are_taken_while_health_says_no_already() {
    let settings = ServerSettings {
        notice: Duration::from_secs(600),
        ..ServerSettings::default()
    };
    let mut serving = Serving::start_with(Recognizer::echo(), settings).await;
    let channel = serving.channel().await;
    let mut watched = health::watch(&channel, "").await;
    assert_eq!(health::next(&mut watched).await, Some(ServingStatus::Serving));
    serving.stop();
    assert_eq!(health::next(&mut watched).await, Some(ServingStatus::NotServing));
    assert!(identify(&channel).await.is_ok());
    assert!(identify(&serving.channel().await).await.is_ok());
}

#[tokio::test]
async fn a_server_that_is_dropped_drops_its_calls() {
    let serving = Serving::start(Recognizer::stuck()).await;
    let channel = serving.channel().await;
    let call = tokio::spawn(async move { identify(&channel).await });
    let work = serving.work.clone();
    work.reaches(1).await;
    drop(serving);
    work.reaches(0).await;
    assert!(within(call).await.unwrap().is_err());
}

#[test]
fn what_cannot_be_is_told_before_anything_is_served() {
    let settings = ServerSettings {
        max_in_flight: 0,
        ..ServerSettings::default()
    };
    let built = Server::builder("recognizer").settings(settings).build();
    assert!(matches!(built, Err(ServeError::Settings(error)) if error.setting == "max_in_flight"));
    let built = Server::builder("recognizer").reflection(&[b"nonsense"]).build();
    assert!(matches!(
        built,
        Err(ServeError::Reflection(_) | ServeError::Descriptors(_))
    ));
}
