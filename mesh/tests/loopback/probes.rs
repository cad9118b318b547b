//! How a target is asked whether it is well.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use safelight_mesh::{Probe, Settings, Target};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::facerecog::{Manner, Server, availability, half_open, hasty, identify, reason};

async fn health_server() -> (SocketAddr, HealthReporter) {
    let (reporter, service) = tonic_health::server::health_reporter();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    (address, reporter)
}

fn asking(address: SocketAddr, service: &str) -> Target {
    Target::builder("health", format!("http://{address}"))
        .settings(hasty())
        .probe(Probe::GrpcHealth {
            service: service.to_owned(),
        })
        .connect()
        .unwrap()
}

#[tokio::test]
async fn a_grpc_health_service_is_asked_for_the_service_of_that_name() {
    let (address, reporter) = health_server().await;
    reporter
        .set_service_status("faces", ServingStatus::NotServing)
        .await;
    let whole = asking(address, "");
    availability(&whole, true).await;
    let faces = asking(address, "faces");
    reason(&faces, "not serving").await;
    assert!(!faces.availability().borrow().is_available());
    reporter.set_service_status("faces", ServingStatus::Serving).await;
    availability(&faces, true).await;
}

#[tokio::test]
async fn a_service_that_the_server_does_not_know_is_not_well_and_the_reason_says_so() {
    let (address, _reporter) = health_server().await;
    let target = asking(address, "misspelt");
    reason(&target, "NotFound").await;
    assert!(!target.availability().borrow().is_available());
}

#[tokio::test]
async fn a_server_without_that_health_service_is_taken_for_well() {
    let server = Server::start().await;
    let target = asking(server.address, "");
    availability(&target, true).await;
}

#[tokio::test]
async fn a_target_that_is_well_is_not_probed() {
    let server = Server::start().await;
    let settings = Settings {
        probe_interval: Duration::from_millis(1),
        ..hasty()
    };
    let target = Target::builder("recognizer", server.uri())
        .settings(settings)
        .probe(Probe::FaceRecog)
        .connect()
        .unwrap();
    availability(&target, true).await;
    for _ in 0..200 {
        identify(&target.channel()).await.unwrap();
    }
    assert_eq!(server.recognizer.probes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_probe_that_lies_costs_one_call_a_break_and_not_one_a_probe() {
    let server = Server::start().await;
    server
        .recognizer
        .manner
        .send_replace(Manner::Fail(tonic::Code::Internal));
    let settings = Settings {
        open_first: Duration::from_millis(200),
        open_longest: Duration::from_secs(600),
        open_jitter: 0.0,
        probe_interval: Duration::from_millis(10),
        ..hasty()
    };
    let target = Target::builder("recognizer", server.uri())
        .settings(settings)
        .probe(Probe::FaceRecog)
        .connect()
        .unwrap();
    for _ in 0..5 {
        identify(&target.channel()).await.unwrap_err();
    }
    // Believed once.
    half_open(&target).await;
    identify(&target.channel()).await.unwrap_err();
    let contradicted = tokio::time::Instant::now();
    availability(&target, false).await;
    half_open(&target).await;
    assert!(
        contradicted.elapsed() >= Duration::from_millis(400),
        "the second break is twice the first"
    );
    assert!(
        server.recognizer.probes.load(Ordering::SeqCst) > 10,
        "it was asked all the while"
    );
    assert_eq!(server.recognizer.calls(), 6);
}
