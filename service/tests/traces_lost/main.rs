//! A collector that is away.
#![allow(clippy::unwrap_used, clippy::expect_used)]

// The tests with a collector use all of it.
#[allow(dead_code)]
#[path = "../traces/recognizer.rs"]
mod recognizer;

use std::io::{self, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use safelight_mesh::{Target, trace};
use safelight_service::metrics;
use safelight_service::otlp::{OtlpSettings, start};

/// That wait to be sent, and that are sent at once, at most.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
const DROPPED: &str = "otlp_spans_dropped_total";
/// More than that.
const MANY: usize = 5_000;
/// Of one call: the caller's, the server's, and what the recognizer has inside.
const SPANS_OF_A_CALL: usize = 3;

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

// === impl Log ===

impl Log {
    fn lines(&self, about: &str) -> usize {
        let log = self.0.lock().unwrap();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains(about)).count()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dropped() -> usize {
    let page = metrics::install().render();
    let line = page.lines().find_map(|line| line.strip_prefix(DROPPED));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

fn work(spans: usize) {
    for _ in 0..spans {
        drop(trace::span("work", []));
    }
}

async fn calls(recognizer: &Target, calls: usize) {
    for _ in 0..calls {
        recognizer::identify(recognizer.channel(), "obama.jpg")
            .await
            .unwrap();
    }
}

/// One story, since a process has one recorder of spans.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_loses_spans_and_nothing_else() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .init();
    metrics::install();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let settings = OtlpSettings {
        endpoint: format!("http://{address}/v1/traces").parse().unwrap(),
        service: "processor".to_owned(),
        ratio: 1.0,
        timeout: Duration::from_secs(60),
    };
    let sending = Arc::new(start(&settings).unwrap());
    let recognizer = recognizer::target(recognizer::serve().await);

    // It refuses: every call is answered, and every span is counted as lost.
    calls(&recognizer, 50).await;
    let flushed = sending.clone();
    tokio::task::spawn_blocking(move || flushed.flush())
        .await
        .unwrap();
    assert_eq!(dropped(), 50 * SPANS_OF_A_CALL);

    // It takes everything and answers nothing: what waits is bounded, the rest is counted as lost at once.
    let silent = TcpListener::bind(address).unwrap();
    work(BATCH);
    let connected = tokio::task::spawn_blocking(move || silent.accept());
    let connection = connected.await.unwrap().unwrap();
    work(MANY);
    let lost = dropped() - 50 * SPANS_OF_A_CALL;
    assert!((MANY - QUEUE..=MANY + BATCH - QUEUE).contains(&lost), "{lost}");
    calls(&recognizer, 50).await;
    assert_eq!(dropped(), 50 * SPANS_OF_A_CALL + lost + 50 * SPANS_OF_A_CALL);
    assert_eq!(log.lines("spans were lost"), 1, "once a minute");

    // The end waits for it, and not for long: a batch alone has a minute.
    let sending = Arc::into_inner(sending).unwrap();
    let began = Instant::now();
    tokio::task::spawn_blocking(move || drop(sending)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    drop(connection);
}
