//! What a service needs, and whether it is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Shutdown;

/// The answer of `/ready`: yes when everything that was registered was there at its last check.
///
/// A need counts as missing until its first check has passed. Liveness never asks here: a program whose
/// database is away must not be restarted for it.
#[derive(Clone, Debug)]
pub struct Readiness {
    needs: Arc<Mutex<BTreeMap<&'static str, Result<(), String>>>>,
    shutdown: Shutdown,
}

impl Readiness {
    /// One without needs: ready until `shutdown` is set off.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            needs: Arc::default(),
            shutdown,
        }
    }

    /// Checks a need now and every `interval` from now on, in a task of its own that ends with the shutdown
    /// that [`Readiness::new`] was given. A check that takes longer than ten seconds counts as failed.
    ///
    /// Each change is one log line, and the gauge `safelight_ready{need}` is 1 or 0.
    pub fn register<F, C>(&self, need: &'static str, interval: Duration, mut check: F)
    where
        F: FnMut() -> C + Send + 'static,
        C: Future<Output = Result<(), String>> + Send,
    {
        self.set(need, Err("not checked yet".to_owned()));
        let readiness = self.clone();
        tokio::spawn(async move {
            let limit = Duration::from_secs(10);
            while !readiness.shutdown.is_triggered() {
                let late = Err(format!("no answer within {} s", limit.as_secs()));
                let found = tokio::time::timeout(limit, check()).await.unwrap_or(late);
                readiness.set(need, found);
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = readiness.shutdown.triggered() => {}
                }
            }
        });
    }

    /// Records whether a need is there, for those who learn of it by other means than a check.
    pub fn set(&self, need: &'static str, found: Result<(), String>) {
        metrics::gauge!("safelight_ready", "need" => need).set(if found.is_ok() { 1.0 } else { 0.0 });
        let before = self.needs().insert(need, found.clone());
        match (before, found) {
            (Some(Err(_)), Ok(())) => tracing::info!(need, "is there"),
            (Some(Ok(())), Err(reason)) => tracing::warn!(need, reason, "is away"),
            _ => {}
        }
    }

    /// `Err` with every missing need and its reason, or with the word that the service is stopping.
    ///
    /// # Errors
    /// The text is for people; it holds no secrets as long as the checks' reasons hold none.
    pub fn state(&self) -> Result<(), String> {
        if self.shutdown.is_triggered() {
            return Err("stopping".to_owned());
        }
        let needs = self.needs();
        let missing: Vec<String> = needs
            .iter()
            .filter_map(|(need, found)| found.as_ref().err().map(|reason| format!("{need}: {reason}")))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join("\n"))
        }
    }

    fn needs(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Result<(), String>>> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_is_ready_when_every_need_was_found() {
        let readiness = Readiness::new(Shutdown::new());
        assert_eq!(readiness.state(), Ok(()));
        readiness.set("queue", Ok(()));
        readiness.register("database", Duration::from_secs(1), || async {
            Err("refused".to_owned())
        });
        assert_eq!(readiness.state(), Err("database: not checked yet".to_owned()));
        tokio::time::advance(Duration::from_millis(1)).await;
        tokio::task::yield_now().await;
        assert_eq!(readiness.state(), Err("database: refused".to_owned()));
        readiness.set("database", Ok(()));
        assert_eq!(readiness.state(), Ok(()));
    }

    #[tokio::test]
    async fn a_stopping_service_is_not_ready() {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        shutdown.trigger();
        assert_eq!(readiness.state(), Err("stopping".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_never_answers_counts_as_failed() {
        let readiness = Readiness::new(Shutdown::new());
        readiness.register("database", Duration::from_secs(1), std::future::pending);
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(11)).await;
        tokio::task::yield_now().await;
        assert_eq!(
            readiness.state(),
            Err("database: no answer within 10 s".to_owned())
        );
    }
}
