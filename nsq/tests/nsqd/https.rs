use std::net::SocketAddr;
use std::sync::Arc;

use async_nsq::{Consumer, HttpConfig, HttpError, NsqdHttp, TlsConfig};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, ServerDirectory, free_port, require_nsq};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::support::*;

/// An nsqd with an HTTPS side, where that is, and whom to trust for it.
struct Encrypted {
    nsqd: Nsqd,
    address: String,
    authority: String,
    _files: ServerDirectory,
}

/// A certificate for 127.0.0.1, its key, and the authority that signed it.
struct Certified {
    certificate: Certificate,
    key: KeyPair,
    authority: String,
}

impl Certified {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        Self {
            certificate: params.signed_by(&key, &issuer).unwrap(),
            key,
            authority,
        }
    }
}

async fn encrypted_nsqd() -> Encrypted {
    let Certified {
        certificate,
        key,
        authority,
    } = Certified::new();
    let files = ServerDirectory::create("certificates").unwrap();
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let address = format!("127.0.0.1:{}", free_port());
    let flags = vec![
        format!("--https-address={address}"),
        format!("--tls-cert={}", file("server.pem", &certificate.pem())),
        format!("--tls-key={}", file("server.key", &key.serialize_pem())),
    ];
    let nsqd = Nsqd::start(NsqdOptions {
        flags,
        ..NsqdOptions::default()
    })
    .await;
    Encrypted {
        nsqd,
        address,
        authority,
        _files: files,
    }
}

fn trusting(authority: &str) -> HttpConfig {
    let tls = TlsConfig::builder().ca_pem(authority.as_bytes()).unwrap();
    let mut config = HttpConfig::default();
    config.tls = Some(tls.build().unwrap());
    config
}

#[tokio::test]
async fn nsqd_is_asked_over_https() {
    require_nsq!();
    let server = encrypted_nsqd().await;
    for address in [server.address.clone(), format!("https://{}", server.address)] {
        let http = NsqdHttp::new(&address, trusting(&server.authority)).unwrap();
        http.ping().await.unwrap();
        let info = http.info().await.unwrap();
        assert_eq!(info.tcp_port, server.nsqd.tcp_address().port());
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_that_is_trusted_is_refused() {
    require_nsq!();
    let server = encrypted_nsqd().await;
    let other = encrypted_nsqd().await;
    let http = NsqdHttp::new(&server.address, trusting(&other.authority)).unwrap();
    let refused = http.ping().await.unwrap_err();
    assert!(matches!(refused, HttpError::Unreachable(_)), "{refused:?}");
}

#[tokio::test]
async fn nothing_is_sent_in_clear_where_encryption_was_asked_for_and_https_needs_someone_to_trust() {
    require_nsq!();
    let server = encrypted_nsqd().await;
    let clear = format!("http://{}", server.nsqd.http_address());
    assert!(NsqdHttp::new(&clear, trusting(&server.authority)).is_err());
    let encrypted = format!("https://{}", server.address);
    assert!(NsqdHttp::new(&encrypted, HttpConfig::default()).is_err());
    // The clear side, asked as if it were the other.
    let clear = server.nsqd.http_address().to_string();
    let http = NsqdHttp::new(&clear, trusting(&server.authority)).unwrap();
    assert!(matches!(http.ping().await, Err(HttpError::Unreachable(_))));
}

const TOKEN: &str = "t0ken";

/// Stands before an HTTP server, speaks HTTPS, and lets in who has the token. Gives its address and its authority.
async fn guarded(server: SocketAddr) -> (SocketAddr, String) {
    let Certified {
        certificate,
        key,
        authority,
    } = Certified::new();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let tls = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // Who does not trust it, or goes away, is no matter of the guard's.
                let Ok(mut client) = acceptor.accept(stream).await else {
                    return;
                };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let allowed = format!("authorization: bearer {TOKEN}\r\n");
                if !head.to_lowercase().contains(&allowed) {
                    let refusal = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
                    client.write_all(refusal).await.unwrap();
                    return;
                }
                let mut upstream = TcpStream::connect(server).await.unwrap();
                upstream.write_all(head.as_bytes()).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    (address, authority)
}

#[tokio::test]
async fn an_nsqd_is_found_by_a_lookupd_behind_https_that_wants_a_token() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let nsqd = Nsqd::start(NsqdOptions {
        lookupd: vec![lookupd.tcp_address()],
        ..NsqdOptions::default()
    })
    .await;
    producer(nsqd.tcp_address())
        .publish(&topic(), "found")
        .await
        .unwrap();
    let (address, authority) = guarded(lookupd.http_address()).await;
    let mut config = consumer_config();
    config.lookupd = vec![format!("https://{address}")];
    config.lookupd_http = trusting(&authority);
    config.lookupd_http.bearer_token = Some(TOKEN.to_owned());
    let mut consumer = Consumer::start(config.clone()).unwrap();
    let message = next(&mut consumer).await;
    assert_eq!(message.nsqd(), nsqd.tcp_address().to_string());
    message.finish().unwrap();

    let refused = async_nsq::LookupdHttp::new(&format!("https://{address}"), trusting(&authority)).unwrap();
    let error = refused.lookup(&topic()).await.unwrap_err();
    assert!(
        matches!(error, HttpError::Status { status: 401, .. }),
        "{error:?}"
    );
}
