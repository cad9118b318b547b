//! A private MariaDB lives and dies as tests ask for it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use safelight_testkit::MariaDb;

const PATIENCE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_was_committed_is_there_after_a_kill() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    let database = url.rsplit('/').next().unwrap();
    server
        .execute(&format!(
            "CREATE TABLE {database}.t (n INT); INSERT INTO {database}.t VALUES (7)"
        ))
        .await;
    let (pid, address) = (server.pid().unwrap(), server.address());

    server.kill();
    assert_eq!(server.pid(), None);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the server still runs"
    );
    assert!(std::net::TcpStream::connect_timeout(&address, PATIENCE).is_err());

    server.restart().await;
    assert_eq!(server.address(), address);
    assert_eq!(
        server.execute(&format!("SELECT n FROM {database}.t")).await,
        "7\n"
    );
}

/// A starting server removes the temporary tables it finds, those of its neighbors too.
#[tokio::test]
async fn two_servers_share_neither_files_nor_ports() {
    let (one, other) = tokio::join!(MariaDb::start(), MariaDb::start());
    assert_ne!(one.address(), other.address());
    let places = "SELECT @@tmpdir, @@datadir, @@socket";
    let (ours, theirs) = (one.execute(places).await, other.execute(places).await);
    for (ours, theirs) in ours.split_whitespace().zip(theirs.split_whitespace()) {
        assert_ne!(ours, theirs);
    }
    assert_eq!(ours.split_whitespace().count(), 3);
}

#[tokio::test]
async fn a_server_and_its_files_go_with_the_value() {
    let server = MariaDb::start().await;
    let pid = server.pid().unwrap();
    let data = server.execute("SELECT @@datadir").await;
    assert!(Path::new(data.trim()).exists());
    drop(server);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the server still runs"
    );
    assert!(!Path::new(data.trim()).exists(), "{data} is still there");
}
