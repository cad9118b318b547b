//! How requests are made.

use std::fmt;
use std::time::Duration;

/// How requests over HTTP are made. All fields are public; start from [`HttpConfig::default`].
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The time for one request, from resolving the name to the end of the answer. Default 3 s.
    pub timeout: Duration,
    /// Sent as `Authorization: Bearer …` with each request, for a proxy that asks for it; nsqd and
    /// nsqlookupd themselves do not look at it. It is never shown in `Debug` output.
    pub bearer_token: Option<String>,
    /// An answer longer than this many bytes is given up. Default 16 MiB, room for the statistics of some
    /// ten thousand channels.
    pub max_answer: usize,
}

// === impl HttpConfig ===

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            bearer_token: None,
            max_answer: 16 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("timeout", &self.timeout)
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "…"))
            .field("max_answer", &self.max_answer)
            .finish_non_exhaustive()
    }
}
