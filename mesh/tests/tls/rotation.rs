//! Files that change while we run.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::tls::{ClientTls, HandshakeError, ServerTls, TlsError};

use crate::authority::{Authority, CLIENT, Directory, Outcome, SERVER, handshake, identity};

/// Longer, in paused time, than it takes to see that a file has changed.
const A_WHILE: Duration = Duration::from_secs(5);

async fn after_a_while(client: &ClientTls, server: &ServerTls) -> Outcome {
    tokio::time::sleep(A_WHILE).await;
    handshake(client, server).await
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_of_the_server_is_used_without_a_restart() {
    let authority = Authority::new();
    let directory = Directory::with(&authority, &authority.leaf(&["old.test"]));
    let server = directory.server(&[]);
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT])).client("new.test");
    assert!(handshake(&client, &server).await.client.is_err());
    directory.write_leaf(&authority.leaf(&["new.test"]));
    after_a_while(&client, &server).await.client.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_of_the_client_is_used_without_a_restart() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let directory = Directory::with(&authority, &authority.leaf(&["old.test"]));
    let client = directory.client(SERVER);
    assert_eq!(
        handshake(&client, &server).await.server.unwrap().names,
        ["old.test"]
    );
    directory.write_leaf(&authority.leaf(&["new.test"]));
    let outcome = after_a_while(&client, &server).await;
    assert_eq!(outcome.server.unwrap().names, ["new.test"]);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_taken_away_is_trusted_no_longer_and_a_new_one_is() {
    let (old, new) = (Authority::new(), Authority::new());
    let server_files = Directory::with(&old, &old.leaf(&[SERVER]));
    let client_files = Directory::with(&old, &old.leaf(&[CLIENT]));
    let (server, client) = (server_files.server(&[]), client_files.client(SERVER));
    handshake(&client, &server).await.client.unwrap();

    client_files.write("ca.pem", &new.pem);
    let outcome = after_a_while(&client, &server).await;
    assert_eq!(outcome.client, Err(HandshakeError::UnknownIssuer));

    server_files.write("ca.pem", &new.pem);
    server_files.write_leaf(&new.leaf(&[SERVER]));
    let outcome = after_a_while(&client, &server).await;
    assert_eq!(outcome.server, Err(HandshakeError::UnknownIssuer));

    client_files.write_leaf(&new.leaf(&[CLIENT]));
    after_a_while(&client, &server).await.client.unwrap();
}

#[tokio::test(start_paused = true)]
async fn files_that_are_exchanged_by_a_symbolic_link_are_seen() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let directory = Directory::with(&authority, &authority.leaf(&["old.test"]));
    let next = Directory::with(&authority, &authority.leaf(&["new.test"]));
    // As Kubernetes has it for its secrets.
    let data = directory.path().join("data");
    std::os::unix::fs::symlink(directory.path(), &data).unwrap();
    let mut files = directory.files();
    files.certificate = data.join("tls.crt");
    files.key = data.join("tls.key");
    let client = ClientTls::open(files, identity(SERVER)).unwrap();
    handshake(&client, &server).await.client.unwrap();

    let fresh = directory.path().join("fresh");
    std::os::unix::fs::symlink(next.path(), &fresh).unwrap();
    std::fs::rename(fresh, data).unwrap();
    let outcome = after_a_while(&client, &server).await;
    assert_eq!(outcome.server.unwrap().names, ["new.test"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_files_are_not_usable_the_last_good_ones_are() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER])).server(&[]);
    let directory = Directory::with(&authority, &authority.leaf(&["old.test"]));
    let client = directory.client(SERVER);
    let new = authority.leaf(&["new.test"]);
    let half = |text: &str| text[..text.len() / 2].to_owned();

    type Spoil<'a> = Box<dyn Fn() + 'a>;
    let spoils: [(&str, Spoil); 6] = [
        (
            "half a certificate",
            Box::new(|| directory.write("tls.crt", &half(&new.pem))),
        ),
        (
            "a certificate of another key",
            Box::new(|| directory.write("tls.crt", &new.pem)),
        ),
        (
            "half a key",
            Box::new(|| directory.write("tls.key", &half(&new.key))),
        ),
        ("an empty file", Box::new(|| directory.write("ca.pem", ""))),
        (
            "half an authority",
            Box::new(|| directory.write("ca.pem", &half(&authority.pem))),
        ),
        (
            "no file",
            Box::new(|| std::fs::remove_file(directory.files().ca).unwrap()),
        ),
    ];
    for (what, spoil) in spoils {
        spoil();
        let outcome = after_a_while(&client, &server).await;
        assert_eq!(outcome.server.unwrap().names, ["old.test"], "{what}");
    }
    directory.write("ca.pem", &authority.pem);
    directory.write_leaf(&new);
    let outcome = after_a_while(&client, &server).await;
    assert_eq!(outcome.server.unwrap().names, ["new.test"]);
}

#[tokio::test]
async fn files_that_are_not_usable_at_the_start_are_refused_by_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let refused = |change: &dyn Fn(&Directory)| {
        let directory = Directory::with(&authority, &authority.leaf(&[CLIENT]));
        change(&directory);
        ClientTls::open(directory.files(), identity(SERVER)).unwrap_err()
    };
    let missing = refused(&|directory| std::fs::remove_file(directory.files().key).unwrap());
    assert!(
        matches!(missing, TlsError::Unreadable { what: "key", .. }),
        "{missing}"
    );
    let empty = refused(&|directory| directory.write("ca.pem", ""));
    assert!(
        empty.to_string().contains("there is no certificate in it"),
        "{empty}"
    );
    let swapped = refused(&|directory| directory.write("tls.key", &authority.pem));
    assert!(
        swapped.to_string().contains("there is no private key in it"),
        "{swapped}"
    );
    let mixed = refused(&|directory| directory.write("tls.key", &other.leaf(&[CLIENT]).key));
    assert!(matches!(mixed, TlsError::KeyMismatch { .. }), "{mixed}");
}

#[test]
fn without_a_runtime_files_cannot_be_watched() {
    let authority = Authority::new();
    let directory = Directory::with(&authority, &authority.leaf(&[CLIENT]));
    let refused = ClientTls::open(directory.files(), identity(SERVER)).unwrap_err();
    assert!(matches!(refused, TlsError::NoRuntime));
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_reloads_and_when_the_certificate_expires() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let directory = Directory::with(&authority, &authority.expired_leaf(&[CLIENT]));
    let _client = directory.client(SERVER);
    let has = |line: String| {
        let page = handle.render();
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    };
    let certificate = directory.files().certificate.display().to_string();
    let expiry = format!("mesh_tls_certificate_expiry_seconds{{certificate=\"{certificate}\"}}");
    let reloads =
        |result: &str| format!("mesh_tls_reloads_total{{certificate=\"{certificate}\",result=\"{result}\"}}");
    has(format!("{expiry} 1577836800")); // 2020-01-01

    directory.write("tls.crt", "");
    tokio::time::sleep(A_WHILE).await;
    has(format!("{} 1", reloads("failed")));
    has(format!("{expiry} 1577836800"));

    directory.write_leaf(&authority.leaf(&[CLIENT]));
    tokio::time::sleep(A_WHILE).await;
    has(format!("{} 1", reloads("loaded")));
    has(format!("{expiry} 67090118400")); // 4096-01-01
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_bad_state_is_told_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    // With one dispatcher, tracing asks the thread that comes first upon a log line whether it is wanted, once and for
    // all: and that may be the thread of another test, which wants none. With two it asks them both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let authority = Authority::new();
    let leaf = authority.leaf(&[CLIENT]);
    let directory = Directory::with(&authority, &leaf);
    let _client = directory.client(SERVER);
    for (file, text) in [("tls.crt", ""), ("tls.crt", &leaf.pem), ("tls.key", "")] {
        directory.write(file, text);
        tokio::time::sleep(A_WHILE).await;
    }
    std::fs::remove_file(directory.files().ca).unwrap();
    tokio::time::sleep(A_WHILE).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("safelight_mesh"))
        .collect();
    assert_eq!(told.len(), 4, "{text}");
    assert!(told[0].contains("tls.crt is not usable"), "{text}");
    assert!(told[1].contains("are in use"), "{text}");
    assert!(told[2].contains("tls.key is not usable"), "{text}");
    assert!(told[3].contains("ca.pem cannot be read"), "{text}");
}
