//! Reading the files again when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::metric_names;

use super::credentials::{Credentials, provider};
use super::error::TlsError;
use super::files::{Contents, TlsFiles};

/// The files are small, and read rather than asked for their times: a file that is written twice within the
/// granularity of its time stamp would otherwise be missed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The latest credentials that were usable. The task that watches the files ends with it.
#[derive(Debug)]
pub(super) struct Material {
    current: Arc<ArcSwap<Credentials>>,
    watcher: AbortHandle,
}

struct Watcher {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: Arc<ArcSwap<Credentials>>,
    /// What was read last, usable or not.
    seen: Option<Contents>,
    /// What was wrong with it.
    wrong: Option<String>,
}

// === impl Material ===

impl Material {
    /// Reads the files, and again when they change. Blocks while it reads.
    pub(super) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let runtime = Handle::try_current().map_err(|_| TlsError::NoRuntime)?;
        let provider = provider();
        let contents = files.read()?;
        let credentials = Credentials::parse(&files, &contents, provider.clone())?;
        tell_expiry(&files.certificate, &credentials);
        let current = Arc::new(ArcSwap::from_pointee(credentials));
        let watcher = Watcher {
            files,
            provider,
            current: current.clone(),
            seen: Some(contents),
            wrong: None,
        };
        Ok(Self {
            current,
            watcher: runtime.spawn(watcher.run()).abort_handle(),
        })
    }

    pub(super) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }
}

impl Drop for Material {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

// === impl Watcher ===

impl Watcher {
    /// Runs until it is aborted, or its runtime ends.
    async fn run(mut self) {
        loop {
            sleep(CHECK_INTERVAL).await;
            let files = self.files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || files.read()).await else {
                return;
            };
            self.learn(read);
        }
    }

    fn learn(&mut self, read: Result<Contents, TlsError>) {
        let contents = match read {
            Ok(contents) if self.seen.as_ref() == Some(&contents) => return,
            Ok(contents) => contents,
            Err(error) => {
                self.seen = None;
                return self.keep(&error);
            }
        };
        let parsed = Credentials::parse(&self.files, &contents, self.provider.clone());
        self.seen = Some(contents);
        match parsed {
            Ok(credentials) => self.replace(credentials),
            Err(error) => self.keep(&error),
        }
    }

    fn replace(&mut self, credentials: Credentials) {
        self.wrong = None;
        self.count("loaded");
        tell_expiry(&self.files.certificate, &credentials);
        tracing::info!(
            certificate = %self.files.certificate.display(),
            ca = %self.files.ca.display(),
            expiry = credentials.expiry,
            "TLS files changed and are in use"
        );
        self.current.store(Arc::new(credentials));
    }

    /// Tells of each bad state once.
    fn keep(&mut self, error: &TlsError) {
        let reason = error.to_string();
        if self.wrong.as_ref() == Some(&reason) {
            return;
        }
        self.count("failed");
        tracing::warn!(
            reason,
            "TLS files changed and are not usable, the last good ones are kept"
        );
        self.wrong = Some(reason);
    }

    fn count(&self, result: &'static str) {
        let certificate = self.files.certificate.display().to_string();
        metrics::counter!(metric_names::TLS_RELOADS, "certificate" => certificate, "result" => result)
            .increment(1);
    }
}

fn tell_expiry(certificate: &Path, credentials: &Credentials) {
    let certificate = certificate.display().to_string();
    #[allow(clippy::cast_precision_loss)] // exact for the next 285 million years
    metrics::gauge!(metric_names::TLS_CERTIFICATE_EXPIRY, "certificate" => certificate)
        .set(credentials.expiry as f64);
}
