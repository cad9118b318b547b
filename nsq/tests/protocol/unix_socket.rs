//! nsqd on a Unix socket.

use std::process::Command;
use std::time::Duration;

use async_nsq::{ConnectionConfig, ConnectionError};
use safelight_testkit::{ServerDirectory, ServerProcess, require_nsq};

use crate::support::*;

/// The test kit's nsqd, and beside it one that listens on a socket file.
pub(crate) async fn nsqd_on_socket(flags: &[&str]) -> (ServerProcess, ServerDirectory, String) {
    let directory = ServerDirectory::create("nsqd-unix").unwrap();
    let socket = directory.path().join("nsqd.sock");
    let http = directory.path().join("nsqd-http.sock");
    let mut command = Command::new(nsqd_program());
    command
        .arg(format!("--tcp-address={}", socket.display()))
        .arg(format!("--http-address={}", http.display()))
        .arg(format!("--data-path={}", directory.path().display()))
        .arg("--broadcast-address=127.0.0.1")
        .args(flags);
    let mut process = ServerProcess::spawn("nsqd", command, &directory.path().join("log")).unwrap();
    let address = format!("unix:{}", socket.display());
    eventually("nsqd listens", || {
        assert!(process.exited().is_none(), "{}", process.failure("ended"));
        let socket = socket.clone();
        async move { tokio::net::UnixStream::connect(socket).await.is_ok() }
    })
    .await;
    (process, directory, address)
}

fn nsqd_program() -> std::path::PathBuf {
    let built = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/nsqd");
    if built.is_file() { built } else { "nsqd".into() }
}

#[tokio::test]
async fn everything_is_carried_over_a_unix_socket() {
    require_nsq!();
    let (_process, _directory, address) = nsqd_on_socket(&[]).await;
    assert_carried(&address, &ConnectionConfig::default()).await;
}

#[cfg(feature = "snappy")]
#[tokio::test]
async fn layers_go_on_top_of_a_unix_socket_too() {
    require_nsq!();
    let (_process, _directory, address) = nsqd_on_socket(&[]).await;
    let mut config = ConnectionConfig::default();
    config.compression = async_nsq::Compression::Snappy;
    assert_carried(&address, &config).await;
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn tls_over_a_unix_socket_needs_the_name_that_the_certificate_bears() {
    require_nsq!();
    let authority = crate::certificates::Authority::new();
    let server = authority.server_named("nsqd.test");
    let (_process, _directory, address) = nsqd_on_socket(&server.flags()).await;
    let error = authority.trusting_config().probe(&address).await.unwrap_err();
    assert!(
        matches!(error, ConnectionError::Tls(async_nsq::TlsError::NoServerName(_))),
        "{error:?}"
    );
    let named = authority.trusting().with_server_name("nsqd.test").unwrap();
    assert_carried(&address, &crate::certificates::with_tls(named)).await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named_in_the_error() {
    let mut config = ConnectionConfig::default();
    config.handshake_timeout = Duration::from_secs(5);
    let error = config.probe("unix:/nowhere/nsqd.sock").await.unwrap_err();
    assert!(matches!(error, ConnectionError::Dial { .. }), "{error:?}");
    assert!(error.to_string().contains("unix:/nowhere/nsqd.sock"), "{error}");
}
