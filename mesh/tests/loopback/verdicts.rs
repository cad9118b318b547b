//! What calls over real connections say about their server, and what their callers learn.

use std::time::Duration;

use bytes::Bytes;
use h2::server::Connection;

use crate::facerecog::{Manner, Server, availability, begun, half_open, hasty, identify};
use safelight_mesh::breaker::CircuitState;
use safelight_mesh::{CallFailure, MeshChannel, Probe, Settings, Target, failure_of};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Request, Status};

async fn connected(server: &Server, settings: Settings) -> Target {
    let target = Target::builder("recognizer", server.uri())
        .settings(settings)
        .probe(Probe::FaceRecog)
        .connect()
        .unwrap();
    availability(&target, true).await;
    target
}

async fn identify_within(channel: &MeshChannel, time: Duration) -> Result<(), Status> {
    let mut request = Request::new(IdentifyRequest {
        image_path: "obama.jpg".to_owned(),
    });
    request.set_timeout(time);
    IdentifyClient::new(channel.clone())
        .identify(request)
        .await
        .map(|_| ())
}

#[tokio::test]
async fn five_errors_of_the_service_open_the_circuit_and_the_caller_sees_the_answer() {
    for code in [Code::Unavailable, Code::Internal, Code::Unknown, Code::DataLoss] {
        let server = Server::start().await;
        server.recognizer.manner.send_replace(Manner::Fail(code));
        let target = connected(&server, hasty()).await;
        for _ in 0..5 {
            let status = identify(&target.channel()).await.unwrap_err();
            assert_eq!(failure_of(&status), CallFailure::Answered(code));
            assert_eq!(status.message(), "as told");
        }
        assert_eq!(target.circuit_state(), CircuitState::Open, "{code:?}");
        let snapshot = target.snapshot();
        assert_eq!(
            snapshot.endpoints[0].last_failure,
            Some(format!("{code:?}: as told"))
        );
    }
}

#[tokio::test]
async fn a_request_at_fault_never_opens_the_circuit() {
    let server = Server::start().await;
    let target = connected(&server, hasty()).await;
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::PermissionDenied,
        Code::Aborted,
        Code::Unimplemented,
    ] {
        server.recognizer.manner.send_replace(Manner::Fail(code));
        for _ in 0..20 {
            let status = identify(&target.channel()).await.unwrap_err();
            assert_eq!(failure_of(&status), CallFailure::Answered(code));
        }
    }
    assert_eq!(target.circuit_state(), CircuitState::Closed);
}

#[tokio::test]
async fn a_service_without_room_never_opens_the_circuit() {
    let server = Server::start().await;
    let target = connected(&server, hasty()).await;
    server
        .recognizer
        .manner
        .send_replace(Manner::Fail(Code::ResourceExhausted));
    for _ in 0..20 {
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::Overloaded);
    }
    assert_eq!(target.circuit_state(), CircuitState::Closed);
}

/// A server that takes connections and answers no call.
async fn black_hole() -> (String, tokio::task::AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let hole = tokio::spawn(async move {
        let mut held: Vec<Connection<TcpStream, Bytes>> = Vec::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // Its SETTINGS are the last that is heard of it.
            held.push(h2::server::handshake(socket).await.unwrap());
        }
    });
    (address, hole.abort_handle())
}

fn with_a_short_deadline() -> Settings {
    Settings {
        deadline: Duration::from_millis(50),
        ..hasty()
    }
}

#[tokio::test]
async fn a_black_hole_costs_each_call_its_deadline_and_five_open_the_circuit() {
    let (address, hole) = black_hole().await;
    let target = Target::builder("hole", address)
        .settings(with_a_short_deadline())
        .connect()
        .unwrap();
    for _ in 0..5 {
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert_eq!(failure_of(&status), CallFailure::TimedOut);
    }
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::NotSent);
    hole.abort();
}

#[tokio::test]
async fn a_black_hole_is_sent_no_call_while_it_leaves_its_probe_unanswered() {
    let (address, hole) = black_hole().await;
    let target = Target::builder("hole", address)
        .settings(with_a_short_deadline())
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .connect()
        .unwrap();
    for _ in 0..3 {
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::NotSent, "{status:?}");
    }
    assert!(
        !target.availability().borrow().is_available(),
        "it connects, but its health probe has no answer"
    );
    hole.abort();
}

#[tokio::test]
async fn a_server_that_does_not_let_connect_is_told_as_unsent_after_the_connect_timeout() {
    // A listener that takes nobody out of its queue; when that is full, the kernel lets newcomers wait.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(connection) = tokio::time::timeout(
        Duration::from_millis(200),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        queue.push(connection.unwrap());
        assert!(queue.len() < 100, "the queue is never full");
    }
    let settings = Settings {
        connect_timeout: Duration::from_millis(50),
        ..hasty()
    };
    let target = Target::builder("frozen", format!("http://{address}"))
        .settings(settings)
        .connect()
        .unwrap();
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::NotSent);
    assert!(
        status.message().contains("connecting took longer than 50 ms"),
        "{status}"
    );

    // The call's own time may be shorter than that.
    let settings = Settings {
        connect_timeout: Duration::from_secs(60),
        ..hasty()
    };
    let target = Target::builder("frozen", format!("http://{address}"))
        .settings(settings)
        .connect()
        .unwrap();
    let status = identify_within(&target.channel(), Duration::from_millis(50))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(failure_of(&status), CallFailure::NotSent);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 0);
}

#[tokio::test]
async fn the_deadline_goes_along_as_grpc_timeout_and_a_shorter_one_of_the_callers_prevails() {
    let server = Server::start().await;
    let target = connected(
        &server,
        Settings {
            deadline: Duration::from_secs(7),
            ..hasty()
        },
    )
    .await;
    let millis = || {
        let value = server.recognizer.last_timeout.borrow().clone().unwrap();
        value.strip_suffix('m').unwrap().parse::<u64>().unwrap()
    };
    identify(&target.channel()).await.unwrap();
    assert!((5_000..=7_000).contains(&millis()), "{} ms", millis());
    identify_within(&target.channel(), Duration::from_secs(3))
        .await
        .unwrap();
    assert!((1_000..=3_000).contains(&millis()), "{} ms", millis());
    identify_within(&target.channel(), Duration::from_secs(3600))
        .await
        .unwrap();
    assert!((5_000..=7_000).contains(&millis()), "{} ms", millis());
}

#[tokio::test]
async fn callers_with_tiny_deadlines_cannot_open_the_circuit() {
    let server = Server::start().await;
    server.recognizer.manner.send_replace(Manner::Hang);
    let target = connected(&server, hasty()).await;
    for _ in 0..20 {
        let status = identify_within(&target.channel(), Duration::from_millis(5))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    assert_eq!(target.circuit_state(), CircuitState::Closed);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 0);
}

#[tokio::test]
async fn our_own_deadline_is_told_as_such_whoever_notices_it_first() {
    let server = Server::start().await;
    server.recognizer.manner.send_replace(Manner::Hang);
    // The server keeps to the grpc-timeout too, and its answer (CANCELLED) races our own timer.
    let settings = Settings {
        deadline: Duration::from_millis(20),
        consecutive_failures: 1_000,
        ..hasty()
    };
    let target = connected(&server, settings).await;
    for failures in 1..=30 {
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::TimedOut, "{status:?}");
        assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, failures);
    }
}

/// Opens the circuit, waits for the probe to open its door, and leaves the server hanging.
async fn half_open_and_hanging(server: &Server) -> Target {
    let target = connected(server, hasty()).await;
    server
        .recognizer
        .manner
        .send_replace(Manner::Fail(Code::Internal));
    for _ in 0..5 {
        identify(&target.channel()).await.unwrap_err();
    }
    server.recognizer.manner.send_replace(Manner::Hang);
    half_open(&target).await;
    assert_eq!(target.circuit_state(), CircuitState::HalfOpen);
    target
}

#[tokio::test]
async fn a_half_open_circuit_lets_one_call_through_and_refuses_the_others() {
    let server = Server::start().await;
    let target = half_open_and_hanging(&server).await;
    let channel = target.channel();
    let trial = tokio::spawn(async move { identify(&channel).await });
    begun(&server, 6).await;
    for _ in 0..20 {
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::NotSent);
    }
    server.recognizer.manner.send_replace(Manner::Answer);
    trial.await.unwrap().unwrap();
    assert_eq!(server.recognizer.calls(), 6);
    assert_eq!(target.circuit_state(), CircuitState::Closed);
}

#[tokio::test]
async fn a_cancelled_half_open_call_gives_its_slot_back() {
    let server = Server::start().await;
    let target = half_open_and_hanging(&server).await;
    for cancelled in 1..=3 {
        let channel = target.channel();
        let trial = tokio::spawn(async move { identify(&channel).await });
        begun(&server, 5 + cancelled).await;
        trial.abort();
        assert!(trial.await.unwrap_err().is_cancelled());
        assert_eq!(target.circuit_state(), CircuitState::HalfOpen);
    }
    server.recognizer.manner.send_replace(Manner::Answer);
    identify(&target.channel()).await.unwrap();
    assert_eq!(target.circuit_state(), CircuitState::Closed);
}

#[tokio::test]
async fn a_late_result_of_an_older_generation_decides_nothing() {
    let server = Server::start().await;
    server.recognizer.manner.send_replace(Manner::Hang);
    let target = connected(&server, hasty()).await;
    let channel = target.channel();
    let slow = tokio::spawn(async move { identify(&channel).await });
    begun(&server, 1).await;
    // Meanwhile others find the service broken.
    for _ in 0..5 {
        identify_broken(&target).await;
    }
    half_open(&target).await;
    assert_eq!(target.circuit_state(), CircuitState::HalfOpen);

    server.recognizer.manner.send_replace(Manner::Answer);
    slow.await.unwrap().unwrap();
    assert_eq!(target.circuit_state(), CircuitState::HalfOpen);
    identify(&target.channel()).await.unwrap();
    assert_eq!(target.circuit_state(), CircuitState::Closed);
}

/// A call that fails while others hang: tonic's server answers `INTERNAL` to a message that it cannot read.
async fn identify_broken(target: &Target) {
    use tonic::codegen::http::uri::PathAndQuery;
    let path = PathAndQuery::from_static("/facerecog.Identify/Identify");
    let codec: tonic_prost::ProstCodec<Garbled, Garbled> = tonic_prost::ProstCodec::default();
    let mut client = tonic::client::Grpc::new(target.channel());
    client.ready().await.unwrap();
    let garbled = Garbled { image_path: 7 };
    let status = client
        .unary(Request::new(garbled), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status:?}");
}

/// An `IdentifyRequest` whose field has the wrong type.
#[derive(Clone, PartialEq, prost::Message)]
struct Garbled {
    #[prost(uint64, tag = "1")]
    image_path: u64,
}
