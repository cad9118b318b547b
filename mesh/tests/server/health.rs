use std::pin::pin;

use safelight_mesh::server::ServerSettings;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::facerecog::{Recognizer, Serving, identify, within};

pub(crate) async fn check(channel: &Channel, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = within(HealthClient::new(channel.clone()).check(request)).await;
    answer
        .map(|answer| answer.into_inner().status())
        .map_err(|status| status.code())
}

pub(crate) async fn watch(channel: &Channel, service: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = within(HealthClient::new(channel.clone()).watch(request)).await;
    answer.unwrap().into_inner()
}

pub(crate) async fn next(watched: &mut Streaming<HealthCheckResponse>) -> Option<ServingStatus> {
    within(watched.next())
        .await
        .map(|answer| answer.unwrap().status())
}

macro_rules! reflected {
    ($name:ident, $version:ident) => {
        pub(crate) async fn $name(channel: &Channel) -> Vec<String> {
            use tonic_reflection::pb::$version as pb;
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(pb::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
            };
            let mut client = pb::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let asked = client.server_reflection_info(tokio_stream::once(request));
            let mut answers = within(asked).await.unwrap().into_inner();
            let answer = within(answers.next()).await.unwrap().unwrap();
            match answer.message_response {
                Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(list)) => list
                    .service
                    .into_iter()
                    .map(|service| service.name)
                    .collect(),
                other => panic!("{other:?}"),
            }
        }
    };
}

reflected!(reflected_v1, v1);
reflected!(reflected_v1alpha, v1alpha);

#[tokio::test]
async fn health_follows_readiness_for_the_server_and_each_service() {
    let (ready, readiness) = watch::channel(false);
    let serving = Serving::start_as(Recognizer::echo(), |builder| builder.health(readiness)).await;
    let channel = serving.channel().await;
    let mut watched = watch(&channel, "").await;
    assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
    for (now, expected) in [
        (false, ServingStatus::NotServing),
        (true, ServingStatus::Serving),
        (false, ServingStatus::NotServing),
    ] {
        if ready.send_replace(now) != now {
            assert_eq!(next(&mut watched).await, Some(expected));
        }
        for service in ["", "facerecog.Identify"] {
            assert_eq!(check(&channel, service).await, Ok(expected), "{service:?}");
        }
    }
    // A server that is not ready is still one that answers.
    assert!(identify(&channel).await.is_ok());
}

#[tokio::test]
async fn a_name_that_is_not_served_is_not_found_and_its_watcher_kept() {
    let mut serving = Serving::start(Recognizer::echo()).await;
    let channel = serving.channel().await;
    assert_eq!(
        check(&channel, "facerecog.HealthCheck").await,
        Err(Code::NotFound)
    );
    let mut watched = watch(&channel, "facerecog.HealthCheck").await;
    assert_eq!(next(&mut watched).await, Some(ServingStatus::ServiceUnknown));
    serving.stop();
    assert_eq!(next(&mut watched).await, None);
    serving.ended().await;
}

#[tokio::test]
async fn the_last_word_of_who_reports_readiness_holds() {
    let (ready, readiness) = watch::channel(true);
    drop(ready);
    let serving = Serving::start_as(Recognizer::echo(), |builder| builder.health(readiness)).await;
    let channel = serving.channel().await;
    let mut watched = watch(&channel, "").await;
    assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
    let mut more = pin!(watched.next());
    // It neither ends nor repeats itself while others are answered.
    assert_eq!(check(&channel, "").await, Ok(ServingStatus::Serving));
    assert!(futures::poll!(&mut more).is_pending());
}

#[tokio::test]
async fn a_watcher_hears_of_the_stop_and_does_not_hold_it_up() {
    let mut serving = Serving::start(Recognizer::echo()).await;
    let mut watched = watch(&serving.channel().await, "").await;
    assert_eq!(next(&mut watched).await, Some(ServingStatus::Serving));
    serving.stop();
    assert_eq!(next(&mut watched).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut watched).await, None);
    let report = serving.ended().await;
    assert_eq!(report.cut, 0);
    assert!(report.took < ServerSettings::default().drain / 3, "{report:?}");
}

#[tokio::test]
async fn both_versions_of_reflection_tell_of_what_is_served_and_of_nothing_else() {
    let serving = Serving::start(Recognizer::echo()).await;
    let channel = serving.channel().await;
    for mut listed in [reflected_v1(&channel).await, reflected_v1alpha(&channel).await] {
        listed.sort();
        let expected = [
            "facerecog.Identify",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        ];
        assert_eq!(listed, expected);
    }
}
