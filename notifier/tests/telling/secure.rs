//! Webhooks by https, against servers with certificates of their own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use safelight_database::Channel;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::road::{Road, Running, eventually};
use crate::webhook::{SECRET, SENT, Sink};

/// Whoever signs certificates; its own is `ca.pem` in the folder.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(folder: &Path) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Authority { issuer }
    }

    /// A sink whose certificate is for `host`.
    async fn sink(&self, host: &str) -> Sink {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate.der().to_vec())],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Sink::serve(Secure { listener, acceptor }, address, &[])
    }
}

/// Takes connections by TLS.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Whoever does not trust us goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A notifier that may call 127.0.0.1, and trusts the authority in `folder` as well where that is given.
fn start(road: &Road, folder: Option<&Path>) -> Running {
    let file = folder.map(|folder| folder.join("ca.pem").display().to_string());
    let mut flags = vec!["--webhook-secrets", SECRET, "--webhook-allow-nets", "127.0.0.0/8"];
    if let Some(file) = &file {
        flags.extend(["--webhook-ca-file", file]);
    }
    road.start(road.configuration(&flags))
}

/// Waits for a try that brought nothing, and gives its reason.
async fn failed_try(road: &Road, id: i64) -> String {
    let (state, _, reason) = eventually("a try has failed", async || {
        let found = road.notification(id).await;
        (found.1 == 1).then_some(found)
    })
    .await;
    assert_eq!(state, 0, "it is tried again");
    reason.unwrap()
}

#[tokio::test]
async fn an_address_whose_certificate_an_authority_of_ours_signed_is_called() {
    let (road, folder) = (Road::new().await, tempfile::tempdir().unwrap());
    let sink = Authority::new(folder.path()).sink("127.0.0.1").await;
    let id = road
        .job(
            "cat.png",
            Channel::Webhook,
            &format!("https://{}/told", sink.address),
        )
        .await;
    let running = start(&road, Some(folder.path()));
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    running.stop().await;
    let calls = sink.calls();
    assert_eq!((calls.len(), calls[0].path.as_str()), (1, "/told"));
}

#[tokio::test]
async fn an_address_whose_certificate_nobody_trusted_signed_is_sent_nothing_and_tried_again() {
    let (road, folder) = (Road::new().await, tempfile::tempdir().unwrap());
    let sink = Authority::new(folder.path()).sink("127.0.0.1").await;
    let id = road
        .job("cat.png", Channel::Webhook, &format!("https://{}/", sink.address))
        .await;
    let running = start(&road, None);
    let reason = failed_try(&road, id).await;
    assert_eq!(
        reason,
        "no secure connection: its certificate is signed by nobody that is trusted"
    );
    running.stop().await;
    assert_eq!(sink.calls().len(), 0);

    road.execute("UPDATE notifications SET available_at = 0").await;
    let running = start(&road, Some(folder.path()));
    assert_eq!(road.ended(id).await, (SENT, 1, None));
    running.stop().await;
    assert_eq!(sink.calls().len(), 1);
}

#[tokio::test]
async fn an_address_whose_certificate_is_for_another_host_is_sent_nothing() {
    let (road, folder) = (Road::new().await, tempfile::tempdir().unwrap());
    let sink = Authority::new(folder.path()).sink("elsewhere.example").await;
    let id = road
        .job("cat.png", Channel::Webhook, &format!("https://{}/", sink.address))
        .await;
    let running = start(&road, Some(folder.path()));
    let reason = failed_try(&road, id).await;
    assert_eq!(
        reason,
        "no secure connection: its certificate is for another host"
    );
    running.stop().await;
    assert_eq!(sink.calls().len(), 0);
}
