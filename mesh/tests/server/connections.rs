use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use safelight_mesh::server::{Secure, Secured, ServerSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::transport::server::TcpConnectInfo;

use crate::facerecog::{Recognizer, Serving, identify, within};

fn short_handshake() -> ServerSettings {
    ServerSettings {
        handshake_timeout: Duration::from_millis(50),
        ..ServerSettings::default()
    }
}

/// Waits until the other end closes the connection, however it does it.
async fn closed(socket: &mut TcpStream) {
    let mut bytes = [0; 1024];
    let reading = async { while socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    within(reading).await;
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_cut() {
    let serving = Serving::start_with(Recognizer::echo(), short_handshake()).await;
    for said in [
        &b""[..],
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0",
    ] {
        let mut socket = TcpStream::connect(serving.address).await.unwrap();
        socket.write_all(said).await.unwrap();
        closed(&mut socket).await;
    }
    // The time is for the handshake alone.
    let channel = serving.channel().await;
    assert!(identify(&channel).await.is_ok());
}

#[tokio::test]
async fn who_does_not_speak_http2_is_shown_the_door_at_once() {
    let serving = Serving::start(Recognizer::echo()).await;
    let mut socket = TcpStream::connect(serving.address).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        .await
        .unwrap();
    closed(&mut socket).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_a_place_that_is_free_again_is_given() {
    let settings = ServerSettings {
        max_connections: 1,
        ..ServerSettings::default()
    };
    let serving = Serving::start_with(Recognizer::echo(), settings).await;
    let first = serving.channel().await;
    assert!(identify(&first).await.is_ok());
    let mut second = TcpStream::connect(serving.address).await.unwrap();
    closed(&mut second).await;
    assert!(identify(&first).await.is_ok());

    drop(first);
    let again = async {
        // Until the server has heard that the first is gone, it turns away.
        loop {
            let bare = serving.try_bare().await;
            if let Some(bare) = bare
                && bare.identify_within("5S").await.is_ok()
            {
                return;
            }
        }
    };
    within(again).await;
}

#[tokio::test]
async fn a_connection_of_its_age_is_ended_and_its_calls_are_finished() {
    let settings = ServerSettings {
        max_connection_age: Some(Duration::from_millis(50)),
        ..ServerSettings::default()
    };
    let release = tokio::sync::watch::channel(false).0;
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
    let serving = Serving::start_with(recognizer, settings).await;
    let socket = TcpStream::connect(serving.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = http::Request::post(format!("http://{}/facerecog.Identify/Identify", serving.address))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    // An empty message: not compressed, of no bytes.
    body.send_data(bytes::Bytes::from_static(&[0; 5]), true).unwrap();
    serving.work.reaches(1).await;
    let goes_away = async {
        while client.clone().ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within(goes_away).await;
    release.send_replace(true);
    let mut answer = within(answer).await.unwrap().into_body();
    while let Some(data) = within(answer.data()).await {
        answer
            .flow_control()
            .release_capacity(data.unwrap().len())
            .unwrap();
    }
    let trailers = within(answer.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}

/// Who is at the other end, as some handshake would find out.
#[derive(Clone, Debug, PartialEq)]
struct Peer(usize);

#[derive(Default)]
struct Numbered(AtomicUsize);

impl Secure for Numbered {
    fn secure(&self, mut socket: TcpStream) -> BoxFuture<'_, std::io::Result<Secured>> {
        Box::pin(async move {
            match socket.read_u8().await? {
                b'!' => {
                    let number = self.0.fetch_add(1, Ordering::SeqCst);
                    Ok(Secured::new(socket).peer(Peer(number)))
                }
                _ => Err(std::io::ErrorKind::PermissionDenied.into()),
            }
        })
    }
}

#[tokio::test]
async fn a_handshake_beneath_http2_is_timed_and_says_who_is_at_the_other_end() {
    let recognizer = Recognizer::new(async |request| {
        let peer = request.extensions().get::<Peer>().unwrap();
        assert!(request.extensions().get::<TcpConnectInfo>().is_some());
        assert!(request.remote_addr().unwrap().ip().is_loopback());
        Ok(peer.0.to_string())
    });
    let serving = Serving::start_as(recognizer, |builder| {
        builder.settings(short_handshake()).secure(Numbered::default())
    })
    .await;
    let mut silent = TcpStream::connect(serving.address).await.unwrap();
    closed(&mut silent).await;
    let mut wrong = TcpStream::connect(serving.address).await.unwrap();
    wrong.write_all(b"?").await.unwrap();
    closed(&mut wrong).await;

    for number in 0..2 {
        let mut socket = TcpStream::connect(serving.address).await.unwrap();
        socket.write_all(b"!").await.unwrap();
        let bare = serving.bare_over(socket).await.unwrap();
        assert_eq!(bare.identify_within("5S").await.unwrap(), number.to_string());
    }
}
