//! TLS asked for is TLS or an error that says why not.

use std::sync::Arc;

use async_nsq::{ConnectionConfig, ConnectionError, ErrorCode, PublishError, TlsConfig, TlsError};
use safelight_testkit::{Nsqd, require_nsq};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

use crate::certificates::{Authority, with_tls};
use crate::support::*;

/// rustls set up by hand, for TLS 1.2 alone.
pub(crate) fn config_of_version_1_2(authority: &Authority) -> ConnectionConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    with_tls(TlsConfig::from_client_config(Arc::new(client)))
}

/// Why no connection with this configuration comes about.
async fn refusal(nsqd: &Nsqd, config: &ConnectionConfig) -> TlsError {
    match config.probe(&nsqd.tcp_address().to_string()).await {
        Err(ConnectionError::Tls(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_nsqd_without_tls_is_refused_and_told_as_such() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let config = Authority::new().trusting_config();
    assert_eq!(refusal(&nsqd, &config).await, TlsError::NotOffered);

    let producer = producer(nsqd.tcp_address(), &config).with_timeout(std::time::Duration::from_secs(1));
    let result = producer.publish(&topic(), "in private or not at all").await;
    assert!(matches!(result, Err(PublishError::NotSent(_))), "{result:?}");
    assert_eq!(nsqd.stats().await["topics"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn an_nsqd_that_requires_tls_refuses_who_comes_in_clear() {
    require_nsq!();
    let server = Authority::new().server();
    let nsqd = nsqd(&server.flags_and(&["--tls-required=true"])).await;
    let producer = producer(nsqd.tcp_address(), &ConnectionConfig::default());
    match producer.publish(&topic(), "in clear").await {
        Err(PublishError::Rejected(error)) => {
            assert_eq!(error.code, ErrorCode::Invalid);
            assert!(error.detail.contains("TLS required"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_trusted() {
    require_nsq!();
    let server = Authority::new().server();
    let nsqd = nsqd(&server.flags()).await;
    let error = refusal(&nsqd, &Authority::new().trusting_config()).await;
    assert!(matches!(error, TlsError::Untrusted(_)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted_unless_that_name_was_configured() {
    require_nsq!();
    let authority = Authority::new();
    let server = authority.server_named("nsqd.test");
    let nsqd = nsqd(&server.flags()).await;
    let error = refusal(&nsqd, &authority.trusting_config()).await;
    assert!(matches!(error, TlsError::Untrusted(_)), "{error:?}");

    let named = with_tls(authority.trusting().with_server_name("nsqd.test").unwrap());
    assert_carried(nsqd.tcp_address(), &named).await;
}

#[tokio::test]
async fn an_nsqd_that_requires_a_certificate_refuses_who_has_none() {
    require_nsq!();
    let authority = Authority::new();
    let server = authority.server();
    let nsqd = nsqd(&server.flags_and(&["--tls-client-auth-policy=require"])).await;
    // Under TLS 1.3 our handshake succeeds, and the refusal is the first thing that is read.
    let error = refusal(&nsqd, &authority.trusting_config()).await;
    assert!(matches!(error, TlsError::Refused(_)), "{error:?}");
    let error = refusal(&nsqd, &config_of_version_1_2(&authority)).await;
    assert!(matches!(error, TlsError::Refused(_)), "{error:?}");

    // Any certificate will do.
    let stranger = Authority::new().leaf("stranger");
    assert_carried(nsqd.tcp_address(), &authority.config_showing(&stranger)).await;
}

#[tokio::test]
async fn an_nsqd_that_verifies_certificates_takes_those_of_its_authority_only() {
    require_nsq!();
    let authority = Authority::new();
    let server = authority.server();
    let nsqd = nsqd(&server.flags_and(&["--tls-client-auth-policy=require-verify"])).await;
    let stranger = Authority::new().leaf("stranger");
    for config in [authority.trusting_config(), authority.config_showing(&stranger)] {
        let error = refusal(&nsqd, &config).await;
        assert!(matches!(error, TlsError::Refused(_)), "{error:?}");
    }
    let known = authority.leaf("client.test");
    assert_carried(nsqd.tcp_address(), &authority.config_showing(&known)).await;
}

#[tokio::test]
async fn versions_that_do_not_meet_are_told_as_a_refusal() {
    require_nsq!();
    let authority = Authority::new();
    let server = authority.server();
    let nsqd = nsqd(&server.flags_and(&["--tls-min-version=tls1.3"])).await;
    let error = refusal(&nsqd, &config_of_version_1_2(&authority)).await;
    assert!(matches!(error, TlsError::Refused(_)), "{error:?}");
    assert_carried(nsqd.tcp_address(), &authority.trusting_config()).await;
}
