//! Finding nsqds: all nsqlookupds are asked at once, again and again, and the union counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::RngExt;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::http::{HttpError, LookupdHttp, Node};
use crate::name::Topic;

/// The first pauses between polls; each is twice the one before, until the configured interval.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// While nobody has the topic, its first nsqd should be found soon.
const LONGEST_PAUSE_WITHOUT_ANY: Duration = Duration::from_secs(1);
/// Polls are spread, as many consumers tend to be started together.
const JITTER: f64 = 0.3;

/// What each nsqlookupd said last.
#[derive(Debug, Default)]
pub(super) struct Findings {
    last_good: BTreeMap<usize, BTreeSet<String>>,
}

/// Polls until dropped.
pub(super) struct Discovery {
    pub(super) clients: Vec<LookupdHttp>,
    pub(super) topic: Topic,
    pub(super) interval: Duration,
    /// Asks for a poll soon, as a connection was lost.
    pub(super) hint: Arc<Notify>,
    pub(super) found: watch::Sender<BTreeSet<String>>,
}

// === impl Findings ===

impl Findings {
    /// Takes one answer. An nsqlookupd that fails is taken to mean what it said last.
    pub(super) fn record(
        &mut self,
        lookupd: usize,
        answer: Result<BTreeSet<String>, HttpError>,
    ) -> Result<(), HttpError> {
        answer.map(|found| {
            self.last_good.insert(lookupd, found);
        })
    }

    /// Everything that any of them said last.
    pub(super) fn union(&self) -> BTreeSet<String> {
        self.last_good.values().flatten().cloned().collect()
    }
}

// === impl Discovery ===

impl Discovery {
    pub(super) async fn run(self) {
        let mut findings = Findings::default();
        let mut polls = 0;
        loop {
            let mut answers: FuturesUnordered<_> =
                (0..self.clients.len()).map(|index| self.ask(index)).collect();
            // As they come: one that hangs does not keep back what the others know.
            while let Some((index, answer)) = answers.next().await {
                match findings.record(index, answer) {
                    Ok(()) => self.publish(findings.union()),
                    Err(error) => {
                        warn!(lookupd = self.clients[index].url(), %error, "nsqlookupd could not be asked");
                    }
                }
            }
            let pause = pause_after(polls, findings.union().is_empty(), self.interval);
            polls += 1;
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                () = self.hint.notified() => sleep(jittered(FIRST_PAUSE.min(self.interval))).await,
            }
        }
    }

    /// The nsqds (`host:port`) that have the topic; none where this nsqlookupd does not know it.
    async fn ask(&self, index: usize) -> (usize, Result<BTreeSet<String>, HttpError>) {
        let found = self.clients[index].lookup(&self.topic).await;
        let addresses = found.map(|found| {
            let nodes = found.map(|lookup| lookup.producers).unwrap_or_default();
            nodes.iter().map(Node::tcp_address).collect()
        });
        (index, addresses)
    }

    fn publish(&self, union: BTreeSet<String>) {
        let changed = self.found.send_if_modified(|found| {
            let differs = *found != union;
            *found = union;
            differs
        });
        if changed {
            debug!(topic = %self.topic, nsqds = ?*self.found.borrow(), "discovered");
        }
    }
}

/// The pause after the poll with this number, counted from zero.
fn pause_after(poll: u32, none_known: bool, interval: Duration) -> Duration {
    let growing = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(poll).unwrap_or(u32::MAX));
    let longest = if none_known {
        interval.min(LONGEST_PAUSE_WITHOUT_ANY)
    } else {
        interval
    };
    growing.min(longest)
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::http::HttpConfig;

    fn set(addresses: &[&str]) -> BTreeSet<String> {
        addresses.iter().map(|&address| address.to_owned()).collect()
    }

    #[test]
    fn the_union_of_all_answers_counts() {
        let mut findings = Findings::default();
        findings.record(0, Ok(set(&["a:1", "b:1"]))).expect("an answer");
        findings.record(1, Ok(set(&["b:1", "c:1"]))).expect("an answer");
        assert_eq!(findings.union(), set(&["a:1", "b:1", "c:1"]));
    }

    #[test]
    fn a_lookupd_that_fails_is_taken_to_mean_what_it_said_last() {
        let mut findings = Findings::default();
        findings.record(0, Ok(set(&["a:1"]))).expect("an answer");
        assert!(findings.record(0, Err(HttpError::Malformed)).is_err());
        assert_eq!(findings.union(), set(&["a:1"]));
    }

    #[test]
    fn a_lookupd_that_answers_none_is_believed() {
        let mut findings = Findings::default();
        findings.record(0, Ok(set(&["a:1"]))).expect("an answer");
        findings.record(0, Ok(set(&[]))).expect("an answer");
        assert!(findings.union().is_empty());
    }

    #[test]
    fn the_first_polls_are_quick_and_stay_so_while_nothing_is_known() {
        let interval = Duration::from_secs(60);
        assert_eq!(pause_after(0, false, interval), Duration::from_millis(100));
        assert_eq!(pause_after(3, false, interval), Duration::from_millis(800));
        assert_eq!(pause_after(50, false, interval), interval);
        assert_eq!(pause_after(50, true, interval), Duration::from_secs(1));
    }

    /// An nsqlookupd that knows one nsqd, and tells of each time it is asked.
    async fn lookupd() -> (LookupdHttp, mpsc::UnboundedReceiver<Instant>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (asked, times) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let body = r#"{"producers":[{"broadcast_address":"n","tcp_port":1}]}"#;
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}",
                body.len()
            );
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = asked.send(Instant::now());
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await;
            }
        });
        let client = LookupdHttp::new(&address, HttpConfig::default()).expect("an address");
        (client, times)
    }

    #[tokio::test]
    async fn a_lookupd_that_hangs_keeps_nothing_back_of_what_another_says() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = silent.local_addr().expect("an address").to_string();
        let patient = HttpConfig {
            timeout: Duration::from_secs(3600),
            ..HttpConfig::default()
        };
        let hanging = LookupdHttp::new(&address, patient).expect("an address");
        let (client, _asked) = lookupd().await;
        let (found, mut found_so_far) = watch::channel(BTreeSet::new());
        let discovery = Discovery {
            clients: vec![hanging, client],
            topic: Topic::new("t").expect("a legal name"),
            interval: Duration::from_secs(3600),
            hint: Arc::default(),
            found,
        };
        let polling = tokio::spawn(discovery.run());
        let named = found_so_far.wait_for(|found| *found == set(&["n:1"]));
        let named = timeout(Duration::from_secs(10), named).await;
        assert!(named.is_ok_and(|named| named.is_ok()));
        polling.abort();
    }

    #[tokio::test]
    async fn a_hint_brings_the_next_poll_forward() {
        let (client, mut asked) = lookupd().await;
        let hint = Arc::new(Notify::new());
        let (found, found_so_far) = watch::channel(BTreeSet::new());
        let discovery = Discovery {
            clients: vec![client],
            topic: Topic::new("t").expect("a legal name"),
            interval: Duration::from_secs(3600),
            hint: hint.clone(),
            found,
        };
        let polling = tokio::spawn(discovery.run());
        // The pause behind the sixth poll is over 2 s.
        for _ in 0..6 {
            asked.recv().await.expect("it polls");
        }
        assert_eq!(*found_so_far.borrow(), set(&["n:1"]));
        let hinted = Instant::now();
        hint.notify_one();
        let polled = timeout(Duration::from_secs(10), asked.recv())
            .await
            .expect("it polls")
            .expect("it polls");
        assert!(polled - hinted < Duration::from_secs(1), "{:?}", polled - hinted);
        polling.abort();
    }
}
