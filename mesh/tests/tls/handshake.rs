//! Peers that are who they should be.

use std::sync::Arc;

use rustls::HandshakeKind;
use tokio::io::duplex;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::authority::{
    Authority, CLIENT, CLIENT_ID, Directory, GREETING, SERVER, SERVER_ID, handshake, identity, plain_client,
};

#[tokio::test]
async fn peers_of_one_authority_know_each_other_by_name() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[CLIENT]);
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let outcome = handshake(&client, &server).await;
    assert_eq!(outcome.client.as_deref(), Ok(GREETING));
    let peer = outcome.server.unwrap();
    assert_eq!(peer.names, [CLIENT]);
    assert_eq!(peer.spiffe_id, None);
}

#[tokio::test]
async fn peers_of_one_authority_know_each_other_by_spiffe_id() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER_ID])).server(&[CLIENT_ID]);
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT_ID])).client(SERVER_ID);
    let outcome = handshake(&client, &server).await;
    assert_eq!(outcome.client.as_deref(), Ok(GREETING));
    assert_eq!(outcome.server.unwrap().spiffe_id.as_deref(), Some(CLIENT_ID));
}

#[tokio::test]
async fn a_server_may_take_several_clients_or_all_of_its_authority() {
    let authority = Authority::new();
    let directory = Directory::with(&authority, &authority.leaf(&[SERVER]));
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    for peers in [&["other.test", CLIENT_ID, CLIENT][..], &[]] {
        let outcome = handshake(&client, &directory.server(peers)).await;
        assert_eq!(outcome.server.unwrap().names, [CLIENT], "{peers:?}");
    }
}

#[tokio::test]
async fn addresses_and_wildcards_are_names_too() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&["127.0.0.1", "*.media.test"])).server(&[]);
    let directory = Directory::with(&authority, &authority.leaf(&[CLIENT]));
    for peer in ["127.0.0.1", "recognizer.media.test"] {
        let outcome = handshake(&directory.client(peer), &server).await;
        assert_eq!(outcome.client.as_deref(), Ok(GREETING), "{peer}");
    }
}

#[tokio::test]
async fn one_set_of_files_serves_for_several_peers() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let other = Directory::with(&authority, &authority.leaf(&[CLIENT])).client("other.test");
    assert!(handshake(&other, &server).await.client.is_err());
    let client = other.with_peer(identity(SERVER)).unwrap();
    assert_eq!(handshake(&client, &server).await.client.as_deref(), Ok(GREETING));
}

#[tokio::test]
async fn a_certificate_may_come_with_those_between_it_and_its_authority() {
    let authority = Authority::new();
    let intermediate = authority.intermediate();
    let mut leaf = intermediate.leaf(&[SERVER]);
    leaf.pem.push_str(&intermediate.pem);
    let server = Directory::with(&authority, &leaf).server(&[]);
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    assert_eq!(handshake(&client, &server).await.client.as_deref(), Ok(GREETING));
}

#[tokio::test]
async fn several_authorities_may_be_trusted() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = Directory::with(&old, &new.leaf(&[SERVER]));
    server.write("ca.pem", &format!("{}{}", old.pem, new.pem));
    let server = server.server(&[]);
    for authority in [&old, &new] {
        let client = Directory::with(&new, &authority.leaf(&[CLIENT])).client(SERVER);
        let outcome = handshake(&client, &server).await;
        assert_eq!(outcome.server.unwrap().names, [CLIENT]);
    }
}

#[tokio::test]
async fn tls_runs_over_tcp() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client(SERVER);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, connected) = tokio::join!(
        async {
            let (stream, _) = listener.accept().await.unwrap();
            server.accept(stream).await
        },
        client.connect(stream, "127.0.0.1")
    );
    connected.unwrap();
    assert_eq!(accepted.unwrap().1.names, [CLIENT]);
}

#[tokio::test]
async fn no_session_is_resumed() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // A client that would, if it were given a ticket.
        let mut config = plain_client(&authority, Some(&authority.leaf(&[CLIENT])), &["h2"]);
        config.enable_early_data = false;
        let connector = TlsConnector::from(Arc::new(restrict(config, version, &authority)));
        for _ in 0..2 {
            let (near, far) = duplex(64 * 1024);
            let name = SERVER.try_into().unwrap();
            let (accepted, connected) = tokio::join!(
                crate::authority::accept(&server, far),
                connector.connect(name, near)
            );
            accepted.unwrap();
            let mut stream = connected.unwrap();
            // What a server has to say about tickets comes before its data.
            let mut greeting = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut greeting)
                .await
                .unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

/// The same client with one version of the protocol.
fn restrict(
    config: rustls::ClientConfig,
    version: &'static rustls::SupportedProtocolVersion,
    authority: &Authority,
) -> rustls::ClientConfig {
    let mut restricted = rustls::ClientConfig::builder_with_provider(crate::authority::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(crate::authority::roots(authority))
        .with_client_cert_resolver(config.client_auth_cert_resolver.clone());
    restricted.alpn_protocols = config.alpn_protocols;
    restricted
}
