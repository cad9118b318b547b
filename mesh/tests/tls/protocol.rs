//! Peers that speak something else, or nothing.

use std::sync::Arc;
use std::time::Duration;

use safelight_mesh::tls::HandshakeError;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::authority::{Authority, CLIENT, Directory, SERVER, accept, plain_client, plain_server, told};

#[tokio::test]
async fn a_client_that_does_not_speak_http2_is_told_so() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let leaf = authority.leaf(&[CLIENT]);
    for protocols in [&["http/1.1"][..], &[]] {
        let client = TlsConnector::from(Arc::new(plain_client(&authority, Some(&leaf), protocols)));
        let (near, far) = duplex(64 * 1024);
        let (accepted, _) = tokio::join!(accept(&server, far), async {
            let stream = client.connect(SERVER.try_into().unwrap(), near).await?;
            drop(stream);
            std::io::Result::Ok(())
        });
        assert_eq!(accepted, Err(HandshakeError::NotHttp2), "{protocols:?}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_told_so() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let leaf = authority.leaf(&[SERVER]);
    for protocols in [&["http/1.1"][..], &[]] {
        let server = TlsAcceptor::from(Arc::new(plain_server(&leaf, protocols)));
        let (near, far) = duplex(64 * 1024);
        let (_, connected) = tokio::join!(server.accept(far), client.connect(near, SERVER));
        assert_eq!(
            told(connected.unwrap_err()),
            HandshakeError::NotHttp2,
            "{protocols:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_so() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let (near, mut far) = duplex(64 * 1024);
    // An empty SETTINGS frame, which an HTTP/2 server sends unasked.
    far.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let refused = client.connect(near, SERVER).await.unwrap_err();
    assert_eq!(told(refused), HandshakeError::NotTls);
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let (mut near, far) = duplex(64 * 1024);
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert_eq!(accept(&server, far).await, Err(HandshakeError::NotTls));
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_told_so() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let (near, far) = duplex(64 * 1024);
    drop(far);
    assert!(client.connect(near, SERVER).await.is_err());

    let server = TlsAcceptor::from(Arc::new(plain_server(&authority.leaf(&[SERVER]), &["h2"])));
    let (near, far) = duplex(64 * 1024);
    let (_, connected) = tokio::join!(
        async {
            let mut stream = server.accept(far).await.unwrap();
            stream.shutdown().await.unwrap();
        },
        client.connect(near, SERVER)
    );
    assert_eq!(told(connected.unwrap_err()), HandshakeError::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_for_our_first_bytes_is_believed_after_a_moment() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let server = TlsAcceptor::from(Arc::new(plain_server(&authority.leaf(&[SERVER]), &["h2"])));
    let (near, far) = duplex(64 * 1024);
    let began = Instant::now();
    let (accepted, connected) = tokio::join!(server.accept(far), client.connect(near, SERVER));
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    assert_eq!(began.elapsed(), Duration::from_millis(250));
    connected.write_all(b"ping").await.unwrap();
    connected.flush().await.unwrap();
    let mut heard = [0; 4];
    accepted.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_not_waited_for() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let began = Instant::now();
    let outcome = crate::authority::handshake(&client, &server).await;
    assert!(outcome.client.is_ok());
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_name_that_cannot_be_dialed_is_refused() {
    let authority = Authority::new();
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let (near, _far) = duplex(1024);
    let refused = client.connect(near, "not a name").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}
