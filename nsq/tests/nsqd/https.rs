use async_nsq::{HttpConfig, HttpError, NsqdHttp, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use safelight_testkit::{Nsqd, NsqdOptions, ServerDirectory, free_port, require_nsq};

/// An nsqd with an HTTPS side, where that is, and whom to trust for it.
struct Encrypted {
    nsqd: Nsqd,
    address: String,
    authority: String,
    _files: ServerDirectory,
}

async fn encrypted_nsqd() -> Encrypted {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();

    let files = ServerDirectory::create("certificates").unwrap();
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let address = format!("127.0.0.1:{}", free_port());
    let flags = vec![
        format!("--https-address={address}"),
        format!("--tls-cert={}", file("server.pem", &certificate)),
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
