//! Servers that promise TLS and speak something else, or stop speaking it.

use std::sync::Arc;

use async_nsq::{ConnectionConfig, ConnectionError, Dialer, PublishError, TlsConfig, TlsError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, join, split};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_util::io::InspectWriter;

use crate::server::*;

/// The end of its body: what comes next is TLS.
const END_OF_IDENTIFY: &str = "}";
const GRANTED: &str = r#"{"tls_v1":true}"#;

/// A server's side of TLS, and who trusts it.
fn both_sides() -> (TlsAcceptor, TlsConfig) {
    both_sides_of(&TLS13)
}

fn both_sides_of(version: &'static SupportedProtocolVersion) -> (TlsAcceptor, TlsConfig) {
    let pair = rcgen::generate_simple_self_signed(["nsqd.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let trusting = TlsConfig::builder().ca_pem(pair.cert.pem().as_bytes()).unwrap();
    (TlsAcceptor::from(Arc::new(server)), trusting.build().unwrap())
}

fn asking_for_tls(mut config: ConnectionConfig) -> ConnectionConfig {
    config.tls = Some(both_sides().1);
    config
}

async fn until_heard(server: &mut DuplexStream, word: &str) {
    let mut heard = Vec::new();
    while !heard.windows(word.len()).any(|window| window == word.as_bytes()) {
        assert!(server.read_buf(&mut heard).await.unwrap() > 0);
    }
}

#[tokio::test]
async fn garbage_where_tls_should_begin_is_told_as_failed_tls() {
    for garbage in [
        ok(),
        vec![0xff; 100],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let (config, mut servers) = accepted(64 * 1024);
        let config = asking_for_tls(config);
        let serving = async {
            let mut server = servers.recv().await.unwrap();
            until_heard(&mut server, END_OF_IDENTIFY).await;
            server.write_all(&granting(GRANTED)).await.unwrap();
            // The first byte of what TLS says.
            until_heard(&mut server, "\u{16}").await;
            server.write_all(&garbage).await.unwrap();
            server
        };
        let (probed, _server) = tokio::join!(config.probe("nsqd.test:4150"), serving);
        let error = probed.unwrap_err();
        assert!(
            matches!(error, ConnectionError::Tls(TlsError::Failed(_))),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn words_in_clear_behind_the_answer_are_not_taken_into_tls() {
    let said = [granting(GRANTED), ok()].concat();
    let config = asking_for_tls(playing(vec![Act::Await("IDENTIFY"), Act::Say(said)]));
    let error = config.probe("nsqd.test:4150").await.unwrap_err();
    assert!(matches!(error, ConnectionError::Protocol(_)), "{error:?}");
}

#[tokio::test]
async fn a_server_that_hangs_up_instead_of_tls_is_closed() {
    let acts = vec![Act::Await("IDENTIFY"), Act::Say(granting(GRANTED)), Act::HangUp];
    let error = asking_for_tls(playing(acts))
        .probe("nsqd.test:4150")
        .await
        .unwrap_err();
    assert!(
        matches!(error, ConnectionError::Closed | ConnectionError::Io(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn garbage_under_and_within_a_good_tls_ends_it_by_type() {
    for within in [true, false] {
        let (mut config, mut servers) = accepted(64 * 1024);
        let (acceptor, trusting) = both_sides();
        config.tls = Some(trusting);
        let producer = producer(config);
        let serving = async {
            let mut server = servers.recv().await.unwrap();
            until_heard(&mut server, END_OF_IDENTIFY).await;
            server.write_all(&granting(GRANTED)).await.unwrap();
            let mut tls = acceptor.accept(server).await.unwrap();
            tls.write_all(&ok()).await.unwrap();
            tls.flush().await.unwrap();
            let mut heard = [0; 5];
            tls.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"PUB t");
            let garbage = [0xff; 100];
            if within {
                tls.write_all(&garbage).await.unwrap();
                tls.flush().await.unwrap();
            } else {
                tls.get_mut().0.write_all(&garbage).await.unwrap();
            }
            tls
        };
        let topic = topic();
        let both = async { tokio::join!(producer.publish(&topic, "body"), serving) };
        let (published, _tls) = timeout(LIMIT, both).await.unwrap();
        match published {
            Err(PublishError::Unknown(ConnectionError::Frame(_))) if within => {}
            Err(PublishError::Unknown(ConnectionError::Tls(TlsError::Failed(_)))) if !within => {}
            other => panic!("within: {within}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_farewell_that_is_left_out_is_a_closed_connection() {
    let (mut config, mut servers) = accepted(64 * 1024);
    let (acceptor, trusting) = both_sides();
    config.tls = Some(trusting);
    let serving = async {
        let mut server = servers.recv().await.unwrap();
        until_heard(&mut server, END_OF_IDENTIFY).await;
        server.write_all(&granting(GRANTED)).await.unwrap();
        drop(acceptor.accept(server).await.unwrap());
    };
    let (probed, ()) = tokio::join!(config.probe("nsqd.test:4150"), serving);
    let error = probed.unwrap_err();
    assert!(
        matches!(error, ConnectionError::Closed | ConnectionError::Io(_)),
        "{error:?}"
    );
}

/// Speaks TLS well. Tells how many bytes it said, and whether that was everything before it was hung up on.
async fn grant_tls(acceptor: TlsAcceptor, mut server: DuplexStream) -> (usize, bool) {
    until_heard(&mut server, END_OF_IDENTIFY).await;
    let mut said = granting(GRANTED).len();
    // Who does not listen any more is seen at the next word.
    let _ = server.write_all(&granting(GRANTED)).await;
    let (reading, writing) = split(server);
    let mut said_all = false;
    let counted = InspectWriter::new(writing, |bytes| said += bytes.len());
    if let Ok(mut tls) = acceptor.accept(join(reading, counted)).await
        && tls.write_all(&ok()).await.is_ok()
        && tls.flush().await.is_ok()
    {
        said_all = true;
        let _ = tls.read_to_end(&mut Vec::new()).await;
    }
    (said, said_all)
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_a_good_tls_handshake_is_closed() {
    for version in [&TLS12, &TLS13] {
        let (acceptor, trusting) = both_sides_of(version);
        // Lengths vary by a few bytes, as signatures do, so the end is where it succeeds.
        let mut cut = 0;
        loop {
            let (sender, mut servings) = mpsc::unbounded_channel();
            let acceptor = acceptor.clone();
            let mut config = ConnectionConfig::default();
            config.tls = Some(trusting.clone());
            config.dialer = Some(Dialer::new(move |_| {
                let (ours, servers) = duplex(PIPE);
                let serving = tokio::spawn(grant_tls(acceptor.clone(), servers));
                let (reading, writing) = split(ours);
                let cut_off = join(reading.take(cut as u64), writing);
                let sent = sender.send(serving);
                std::future::ready(sent.map(|()| cut_off).map_err(std::io::Error::other))
            }));
            let probed = timeout(LIMIT, config.probe("nsqd.test:4150")).await.unwrap();
            let serving = servings.recv().await.unwrap();
            let (said, said_all) = timeout(LIMIT, serving).await.unwrap().unwrap();
            match probed {
                Err(error) if is_hung_up(&error) && (cut < said || !said_all) => {}
                Ok(_) if cut >= said && said_all => break,
                other => panic!("{version:?}, {cut} of {said} bytes, all of it: {said_all}: {other:?}"),
            }
            assert!(cut < 10_000, "no handshake takes so much");
            cut += 1;
        }
    }
}
