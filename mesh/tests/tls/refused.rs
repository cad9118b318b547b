//! Peers that are not who they should be. Both sides say what it was.

use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose;
use safelight_mesh::tls::HandshakeError;
use tokio::io::{AsyncReadExt, duplex};
use tokio_rustls::TlsConnector;

use crate::authority::{
    Authority, CLIENT, CLIENT_ID, Directory, Leaf, Outcome, SERVER, SERVER_ID, accept, handshake,
    plain_client, told,
};

/// A handshake where each side trusts the first authority and shows its leaf.
async fn meet(authority: &Authority, client: (&Leaf, &str), server: (&Leaf, &[&str])) -> Outcome {
    let client_tls = Directory::with(authority, client.0).client(client.1);
    let server_tls = Directory::with(authority, server.0).server(server.1);
    handshake(&client_tls, &server_tls).await
}

fn refused(reason: &'static str) -> HandshakeError {
    HandshakeError::Refused { reason }
}

const UNKNOWN_CA: &str = "it does not know our CA";
const UNSAID: &str = "it does not say why";

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    let outcome = meet(
        &ours,
        (&ours.leaf(&[CLIENT]), SERVER),
        (&other.leaf(&[SERVER]), &[]),
    )
    .await;
    assert_eq!(outcome.client, Err(HandshakeError::UnknownIssuer));
    assert!(
        matches!(outcome.server, Err(HandshakeError::Refused { .. })),
        "{:?}",
        outcome.server
    );
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused_and_learns_it_before_it_is_connected() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = Directory::with(&ours, &ours.leaf(&[SERVER])).server(&[]);
    let client = Directory::with(&ours, &other.leaf(&[CLIENT])).client(SERVER);
    let (near, far) = duplex(64 * 1024);
    let (accepted, connected) = tokio::join!(accept(&server, far), client.connect(near, SERVER));
    assert_eq!(accepted, Err(HandshakeError::UnknownIssuer));
    let refusal = told(connected.map(drop).unwrap_err());
    assert!(matches!(refusal, HandshakeError::Refused { .. }), "{refusal}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let client = TlsConnector::from(Arc::new(plain_client(&authority, None, &["h2"])));
    let (near, far) = duplex(64 * 1024);
    let (accepted, greeting) = tokio::join!(accept(&server, far), async {
        let mut stream = client.connect(SERVER.try_into().unwrap(), near).await?;
        stream.read_to_end(&mut Vec::new()).await
    });
    assert_eq!(accepted, Err(HandshakeError::NoCertificate));
    let refusal = greeting.unwrap_err().to_string();
    assert!(refusal.contains("CertificateRequired"), "{refusal}");
}

#[tokio::test]
async fn a_server_of_another_name_is_refused_with_both_names() {
    let authority = Authority::new();
    let outcome = meet(
        &authority,
        (&authority.leaf(&[CLIENT]), SERVER),
        (&authority.leaf(&["other.test", "another.test"]), &[]),
    )
    .await;
    assert_eq!(
        outcome.client.unwrap_err().to_string(),
        "the peer is not recognizer.test: its certificate is for other.test, another.test"
    );
    assert_eq!(outcome.server, Err(refused(UNSAID)));
}

#[tokio::test]
async fn a_client_of_another_name_is_refused_with_both_names() {
    let authority = Authority::new();
    let outcome = meet(
        &authority,
        (&authority.leaf(&["other.test"]), SERVER),
        (&authority.leaf(&[SERVER]), &[CLIENT, CLIENT_ID]),
    )
    .await;
    assert_eq!(
        outcome.server.unwrap_err().to_string(),
        "the peer is not processor.test or spiffe://test.org/processor: its certificate is for other.test"
    );
    assert_eq!(outcome.client, Err(refused(UNSAID)));
}

#[tokio::test]
async fn the_name_that_was_dialed_does_not_count() {
    let authority = Authority::new();
    // Every handshake here dials `recognizer.test`.
    let outcome = meet(
        &authority,
        (&authority.leaf(&[CLIENT]), "other.test"),
        (&authority.leaf(&[SERVER]), &[]),
    )
    .await;
    assert!(matches!(outcome.client, Err(HandshakeError::WrongPeer { .. })));
}

#[tokio::test]
async fn a_spiffe_id_counts_letter_by_letter() {
    let authority = Authority::new();
    for other in [
        "spiffe://test.org/recognizer2",
        "spiffe://test.org/Recognizer",
        "spiffe://test.org/recognizer/a",
        "spiffe://test.net/recognizer",
        "https://test.org/recognizer",
        SERVER,
    ] {
        let outcome = meet(
            &authority,
            (&authority.leaf(&[CLIENT]), SERVER_ID),
            (&authority.leaf(&[other]), &[]),
        )
        .await;
        let error = outcome.client.unwrap_err();
        assert!(
            matches!(error, HandshakeError::WrongPeer { .. }),
            "{other}: {error}"
        );
    }
    let outcome = meet(
        &authority,
        (&authority.leaf(&["spiffe://test.org/other"]), SERVER),
        (&authority.leaf(&[SERVER]), &[CLIENT_ID]),
    )
    .await;
    assert_eq!(
        outcome.server.unwrap_err().to_string(),
        "the peer is not spiffe://test.org/processor: its certificate is for spiffe://test.org/other"
    );
}

#[tokio::test]
async fn a_certificate_with_two_spiffe_ids_is_nobodys() {
    let authority = Authority::new();
    let outcome = meet(
        &authority,
        (&authority.leaf(&[CLIENT]), SERVER_ID),
        (&authority.leaf(&[SERVER_ID, "spiffe://test.org/other"]), &[]),
    )
    .await;
    assert_eq!(
        outcome.client,
        Err(HandshakeError::WrongPeer {
            expected: SERVER_ID.to_owned(),
            presented: "nobody".to_owned(),
        })
    );
}

#[tokio::test]
async fn the_right_spiffe_id_of_another_authority_is_refused() {
    let (ours, other) = (Authority::new(), Authority::new());
    let outcome = meet(
        &ours,
        (&ours.leaf(&[CLIENT]), SERVER_ID),
        (&other.leaf(&[SERVER_ID]), &[]),
    )
    .await;
    assert_eq!(outcome.client, Err(HandshakeError::UnknownIssuer));
}

#[tokio::test]
async fn certificates_outside_their_time_are_refused() {
    let authority = Authority::new();
    let (client, server) = (authority.leaf(&[CLIENT]), authority.leaf(&[SERVER]));
    for late in [
        authority.expired_leaf(&[SERVER]),
        authority.future_leaf(&[SERVER]),
    ] {
        let outcome = meet(&authority, (&client, SERVER), (&late, &[])).await;
        let error = outcome.client.unwrap_err();
        assert!(matches!(error, HandshakeError::OutOfTime { .. }), "{error}");
    }
    let outcome = meet(
        &authority,
        (&authority.expired_leaf(&[CLIENT]), SERVER),
        (&server, &[]),
    )
    .await;
    assert!(matches!(outcome.server, Err(HandshakeError::OutOfTime { .. })));
    assert_eq!(outcome.client, Err(refused("it is outside its time")));
}

#[tokio::test]
async fn a_certificate_for_the_other_side_only_is_refused() {
    let authority = Authority::new();
    let for_clients = authority.leaf_for(&[SERVER], ExtendedKeyUsagePurpose::ClientAuth);
    let outcome = meet(
        &authority,
        (&authority.leaf(&[CLIENT]), SERVER),
        (&for_clients, &[]),
    )
    .await;
    let error = outcome.client.unwrap_err();
    assert!(matches!(error, HandshakeError::BadCertificate { .. }), "{error}");
    let for_servers = authority.leaf_for(&[CLIENT], ExtendedKeyUsagePurpose::ServerAuth);
    let outcome = meet(
        &authority,
        (&for_servers, SERVER),
        (&authority.leaf(&[SERVER]), &[]),
    )
    .await;
    let error = outcome.server.unwrap_err();
    assert!(matches!(error, HandshakeError::BadCertificate { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_know_our_authority_says_so() {
    let (ours, other) = (Authority::new(), Authority::new());
    // Only the server's trust differs; by name its authority is another one.
    let server = Directory::with(&other.intermediate(), &ours.leaf(&[SERVER])).server(&[]);
    let client = Directory::with(&ours, &ours.leaf(&[CLIENT])).client(SERVER);
    let outcome = handshake(&client, &server).await;
    assert_eq!(outcome.server, Err(HandshakeError::UnknownIssuer));
    assert_eq!(outcome.client, Err(refused(UNKNOWN_CA)));
}
