#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::time::timeout;

use super::super::dns_server::DnsServer;
use super::*;

type Answer = Result<Vec<IpAddr>, String>;

/// A lookup that plays its answers, and then repeats the last one.
#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// What one lookup takes.
    takes: Duration,
    /// When each lookup began.
    begun: Arc<Mutex<Vec<Instant>>>,
}

impl Script {
    fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            answers: Arc::new(Mutex::new(answers.into_iter().collect())),
            takes: Duration::ZERO,
            begun: Arc::default(),
        }
    }

    fn begun(&self) -> Vec<Instant> {
        self.begun.lock().unwrap().clone()
    }
}

impl Lookup for Script {
    async fn addresses(&mut self) -> Answer {
        self.begun.lock().unwrap().push(Instant::now());
        tokio::time::sleep(self.takes).await;
        let mut answers = self.answers.lock().unwrap();
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().unwrap(),
        }
    }
}

fn found(addresses: &[&str]) -> Answer {
    Ok(addresses.iter().map(|address| address.parse().unwrap()).collect())
}

fn failed(reason: &str) -> Answer {
    Err(reason.to_owned())
}

fn follow(script: &Script) -> Discovery {
    Discovery::follow(
        "recognizer".into(),
        50051,
        script.clone(),
        &DiscoverySettings::default(),
    )
    .unwrap()
}

fn endpoints(found: &Found) -> Vec<String> {
    found.endpoints.iter().map(ToString::to_string).collect()
}

/// Waits, within a deadline, for this to become known.
async fn until(watch: &mut watch::Receiver<Found>, is_it: impl Fn(&Found) -> bool) -> Found {
    timeout(Duration::from_secs(30), watch.wait_for(|found| is_it(found)))
        .await
        .expect("it did not become known")
        .expect("the task has ended")
        .clone()
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_sorted_and_none_is_there_twice() {
    let discovery = follow(&Script::of([found(&["10.0.0.10", "10.0.0.2", "10.0.0.10"])]));
    assert!(
        !discovery.watch().borrow().looked_up,
        "nothing is known before the first lookup"
    );
    let found = until(&mut discovery.watch(), |found| found.looked_up).await;
    assert_eq!(endpoints(&found), ["10.0.0.2:50051", "10.0.0.10:50051"]);
    assert_eq!(found.error, None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_lookup_keeps_the_endpoints_and_says_why() {
    let script = Script::of([found(&["10.0.0.1"]), failed("no route"), found(&["10.0.0.2"])]);
    let discovery = follow(&script);
    let mut watch = discovery.watch();
    let broken = until(&mut watch, |found| found.error.is_some()).await;
    assert_eq!(endpoints(&broken), ["10.0.0.1:50051"]);
    assert_eq!(broken.error.as_deref(), Some("no route"));
    let healed = until(&mut watch, |found| found.error.is_none()).await;
    assert_eq!(endpoints(&healed), ["10.0.0.2:50051"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_lookup_that_fails_is_known_to_have_been_made() {
    let discovery = follow(&Script::of([failed("no route")]));
    let found = until(&mut discovery.watch(), |found| found.looked_up).await;
    assert!(found.endpoints.is_empty());
    assert_eq!(found.error.as_deref(), Some("no route"));
}

#[tokio::test(start_paused = true)]
async fn however_many_connections_break_lookups_keep_their_distance() {
    let script = Script::of([found(&["10.0.0.1"])]);
    let discovery = follow(&script);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        discovery.refresh();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    let begun = script.begun();
    for pair in begun.windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(500),
            "{:?}",
            pair[1] - pair[0]
        );
    }
    assert!(
        (19..=21).contains(&begun.len()),
        "{} lookups in 10 s",
        begun.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_followed_by_a_lookup_at_once_if_the_last_is_long_ago() {
    let script = Script::of([found(&["10.0.0.1"])]);
    let discovery = follow(&script);
    until(&mut discovery.watch(), |found| found.looked_up).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let broke = Instant::now();
    discovery.refresh();
    tokio::time::sleep(Duration::from_millis(1)).await;
    let begun = script.begun();
    assert_eq!(begun.len(), 2);
    assert_eq!(begun[1], broke);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_during_a_lookup_is_followed_by_another() {
    let script = Script {
        takes: Duration::from_millis(100),
        ..Script::of([found(&["10.0.0.1"])])
    };
    let discovery = follow(&script);
    tokio::time::sleep(Duration::from_millis(50)).await;
    discovery.refresh();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = script.begun();
    assert_eq!(begun.len(), 2);
    assert_eq!(
        begun[1] - begun[0],
        Duration::from_millis(600),
        "the least time after it ended"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_reason_a_name_is_asked_for_once_an_interval() {
    let script = Script::of([found(&["10.0.0.1"])]);
    let _discovery = follow(&script);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let lookups = script.begun().len();
    assert!((17..=25).contains(&lookups), "{lookups} lookups in 100 s");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_woken_when_nothing_has_changed() {
    let script = Script::of([found(&["10.0.0.1", "10.0.0.2"]), found(&["10.0.0.2", "10.0.0.1"])]);
    let discovery = follow(&script);
    let mut watch = discovery.watch();
    until(&mut watch, |found| found.looked_up).await;
    watch.mark_unchanged();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(script.begun().len() > 5);
    assert!(!watch.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_owner() {
    let script = Script::of([found(&["10.0.0.1"])]);
    let discovery = follow(&script);
    let mut watch = discovery.watch();
    until(&mut watch, |found| found.looked_up).await;
    drop(discovery);
    timeout(Duration::from_secs(1), async {
        while watch.changed().await.is_ok() {}
    })
    .await
    .expect("the task goes on");
    assert_eq!(Arc::strong_count(&script.begun), 1, "the task holds nothing");
}

#[tokio::test(start_paused = true)]
async fn what_needs_no_lookup_is_known_at_once_and_stays() {
    let address = TargetAddress::parse("static:///10.0.0.2:1,10.0.0.1:1,recognizer:1").unwrap();
    let discovery = Discovery::start("test".into(), &address, DiscoverySettings::default()).unwrap();
    discovery.refresh();
    let found = discovery.watch().borrow().clone();
    assert_eq!(endpoints(&found), ["10.0.0.1:1", "10.0.0.2:1", "recognizer:1"]);
    assert!(found.looked_up);
}

#[test]
fn without_a_runtime_a_name_cannot_be_followed() {
    let address = TargetAddress::parse("dns:///recognizer:1").unwrap();
    assert!(Discovery::start("test".into(), &address, DiscoverySettings::default()).is_err());
}

#[tokio::test(start_paused = true)]
async fn lookups_are_counted_by_their_result() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let script = Script::of([
        found(&["10.0.0.1"]),
        failed("no route"),
        failed("no route"),
        found(&["10.0.0.2"]),
    ]);
    let discovery = follow(&script);
    until(&mut discovery.watch(), |found| {
        endpoints(found) == ["10.0.0.2:50051"]
    })
    .await;
    let page = handle.render();
    for line in [
        r#"mesh_lookups_total{target="recognizer",result="found"} 2"#,
        r#"mesh_lookups_total{target="recognizer",result="failed"} 2"#,
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_changes_and_not_lookups() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    // With one dispatcher, tracing asks the thread that comes first upon a log line whether it is wanted, once and for
    // all: and that may be the thread of another test, which wants none. With two it asks them both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let mut answers = vec![found(&["10.0.0.1"]); 3];
    answers.extend(vec![failed("no route"); 3]);
    answers.push(found(&["10.0.0.1", "10.0.0.2"]));
    let discovery = follow(&Script::of(answers));
    until(&mut discovery.watch(), |found| found.endpoints.len() == 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text.lines().collect();
    assert_eq!(told.len(), 4, "{text}");
    assert!(told[0].contains("endpoints=1 added=1 removed=0"), "{text}");
    assert!(
        told[1].contains("lookup failed") && told[1].contains("no route"),
        "{text}"
    );
    assert!(told[2].contains("endpoints=2 added=1 removed=0"), "{text}");
    assert!(told[3].contains("lookups succeed again"), "{text}");
}

// === against a DNS server ===

/// Follows `recognizer.test` on this server, in a hurry.
fn follow_on(server: &DnsServer) -> Discovery {
    let address = format!("dns://{}/recognizer.test:50051", server.address());
    let settings = DiscoverySettings {
        interval: Duration::from_millis(20),
        least: Duration::from_millis(5),
        timeout: Duration::from_millis(500),
    };
    Discovery::start("test".into(), &TargetAddress::parse(&address).unwrap(), settings).unwrap()
}

#[tokio::test]
async fn records_that_come_and_go_are_followed() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1"]);
    let discovery = follow_on(&server);
    let mut watch = discovery.watch();
    until(&mut watch, |found| endpoints(found) == ["10.0.0.1:50051"]).await;
    server.set("recognizer.test", &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    until(&mut watch, |found| found.endpoints.len() == 3).await;
    server.set("recognizer.test", &["10.0.0.3"]);
    until(&mut watch, |found| endpoints(found) == ["10.0.0.3:50051"]).await;
}

#[tokio::test]
async fn a_name_that_vanishes_keeps_its_endpoints_until_it_is_back() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1"]);
    let discovery = follow_on(&server);
    let mut watch = discovery.watch();
    until(&mut watch, |found| found.endpoints.len() == 1).await;
    for away in ["gone", "without addresses"] {
        match away {
            "gone" => server.remove("recognizer.test"),
            _ => server.set("recognizer.test", &[]),
        }
        let kept = until(&mut watch, |found| found.error.is_some()).await;
        assert_eq!(endpoints(&kept), ["10.0.0.1:50051"], "{away}");
        server.set("recognizer.test", &["10.0.0.1"]);
        until(&mut watch, |found| found.error.is_none()).await;
    }
}

#[tokio::test]
async fn a_server_that_dies_keeps_the_endpoints_and_is_heard_when_it_is_back() {
    let server = DnsServer::start().await;
    server.set("recognizer.test", &["10.0.0.1"]);
    let discovery = follow_on(&server);
    let mut watch = discovery.watch();
    until(&mut watch, |found| found.endpoints.len() == 1).await;
    server.set_silent(true);
    let kept = until(&mut watch, |found| found.error.is_some()).await;
    assert_eq!(endpoints(&kept), ["10.0.0.1:50051"]);
    server.set("recognizer.test", &["10.0.0.2"]);
    server.set_silent(false);
    until(&mut watch, |found| endpoints(found) == ["10.0.0.2:50051"]).await;
}
