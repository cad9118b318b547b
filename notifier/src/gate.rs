//! Holding mails back while nothing takes them.

use std::sync::Arc;
use std::time::Duration;

use safelight_service::{Readiness, Shutdown};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::schedule::spread;

/// The pause before a closed gate is looked at again; it doubles each time.
const SHORTEST: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether what takes the messages is there. Cheap to clone; all clones are one gate.
///
/// It begins closed and is closed by the first message that meets nobody. While it is closed nothing is claimed, so that
/// what is away is asked by [`Gate::tend`] alone, more and more seldom.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    closed: Arc<watch::Sender<Option<String>>>,
}

// === impl Gate ===

impl Gate {
    /// One that is closed until it was looked at.
    pub(crate) fn new() -> Self {
        Self {
            closed: Arc::new(watch::Sender::new(Some("not checked yet".to_owned()))),
        }
    }

    /// One that nobody closes.
    pub(crate) fn always_open() -> Self {
        Self {
            closed: Arc::new(watch::Sender::new(None)),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closed.borrow().is_none()
    }

    /// Why it is closed, now and whenever that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.closed.subscribe()
    }

    /// Nobody is there, for this reason.
    pub(crate) fn close(&self, why: &str) {
        self.closed.send_replace(Some(why.to_owned()));
    }

    /// Looks whether somebody is there again, until `shutdown`, and tells `readiness` under the name `need`.
    pub(crate) async fn tend<C: Future<Output = Result<(), String>>>(
        self,
        need: &'static str,
        readiness: Readiness,
        shutdown: Shutdown,
        check: impl Fn() -> C,
    ) {
        let mut pause = SHORTEST;
        loop {
            match check().await {
                Ok(()) => {
                    self.closed.send_replace(None);
                    readiness.set(need, Ok(()));
                    let opened = Instant::now();
                    let why = tokio::select! {
                        why = self.until_closed() => why,
                        () = shutdown.triggered() => return,
                    };
                    readiness.set(need, Err(why));
                    // Closed again soon: what was found does not hold, and is not looked for so often.
                    if opened.elapsed() >= LONGEST {
                        pause = SHORTEST;
                    }
                }
                Err(why) => {
                    self.close(&why);
                    readiness.set(need, Err(why));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(spread(pause, rand::random())) => {}
                () = shutdown.triggered() => return,
            }
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn until_closed(&self) -> String {
        let mut closed = self.watch();
        match closed.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => why,
            // This gate holds the other end.
            Ok(None) | Err(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// When a gate was looked at, in half seconds from the start.
    fn looks(started: Instant, looks: &Mutex<Vec<u64>>) -> usize {
        #[allow(clippy::unwrap_used)]
        let mut looks = looks.lock().unwrap();
        looks.push(u64::try_from(started.elapsed().as_millis()).unwrap_or(0));
        looks.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_is_looked_at_more_and_more_seldom_and_opens_by_itself() {
        let (gate, shutdown) = (Gate::new(), Shutdown::new());
        let readiness = Readiness::new(shutdown.clone());
        let (started, seen) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let counted = Arc::clone(&seen);
        let check = move || {
            let look = looks(started, &counted);
            async move {
                if look < 10 {
                    Err("refused".to_owned())
                } else {
                    Ok(())
                }
            }
        };
        let tended = tokio::spawn(
            gate.clone()
                .tend("mail", readiness.clone(), shutdown.clone(), check),
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!gate.is_open());
        assert_eq!(readiness.state(), Err("mail: refused".to_owned()));
        let mut closed = gate.watch();
        assert!(closed.wait_for(Option::is_none).await.is_ok());
        assert_eq!(readiness.state(), Ok(()));
        #[allow(clippy::unwrap_used)]
        let seen = seen.lock().unwrap().clone();
        let pauses: Vec<u64> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses[0] < 600, "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= 33_000), "{pauses:?}");
        assert!(pauses[8] >= 27_000, "{pauses:?}");
        shutdown.trigger();
        assert!(tended.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_only_looks_well_is_not_tried_at_full_speed() {
        let (gate, shutdown) = (Gate::new(), Shutdown::new());
        let readiness = Readiness::new(shutdown.clone());
        let tending = gate
            .clone()
            .tend("mail", readiness, shutdown.clone(), || async { Ok(()) });
        tokio::spawn(tending);
        let (started, mut closed) = (Instant::now(), gate.watch());
        for _ in 0..10 {
            assert!(closed.wait_for(Option::is_none).await.is_ok());
            gate.close("it takes no mail after all");
        }
        assert!(
            started.elapsed() > Duration::from_secs(60),
            "{:?}",
            started.elapsed()
        );
        shutdown.trigger();
    }
}
