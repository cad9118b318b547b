//! How requests are made.

use std::fmt;
use std::time::Duration;

/// How requests over HTTP are made. All fields are public; start from [`HttpConfig::default`].
///
/// ```
/// use async_nsq::{HttpConfig, NsqdHttp};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), async_nsq::ConfigError> {
/// let mut config = HttpConfig::default();
/// config.timeout = Duration::from_secs(1);
/// config.bearer_token = Some("a token".into()); // for a proxy in front of nsqd
/// let nsqd = NsqdHttp::new("http://proxy:4151/nsqd-1", config)?;
/// # assert_eq!(nsqd.url(), "http://proxy:4151/nsqd-1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    /// The time for one request, from resolving the name to the end of the answer. Default 3 s.
    pub timeout: Duration,
    /// Sent as `Authorization: Bearer …` with each request, for a proxy that asks for it; nsqd and
    /// nsqlookupd themselves do not look at it. It is never shown in `Debug` output.
    pub bearer_token: Option<String>,
    /// Whom to trust behind `https://`, and who to be there. Needed for such an address, and refused with
    /// any other.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsConfig>,
    /// An answer longer than this many bytes is given up. Default 16 MiB, room for the statistics of some
    /// ten thousand channels.
    pub max_answer: usize,
}

// === impl HttpConfig ===

impl HttpConfig {
    /// Whether requests are encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(3),
            bearer_token: None,
            #[cfg(feature = "tls")]
            tls: None,
            max_answer: 16 * 1024 * 1024,
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("HttpConfig");
        debug
            .field("timeout", &self.timeout)
            .field("bearer_token", &self.bearer_token.as_ref().map(|_| "…"))
            .field("max_answer", &self.max_answer);
        #[cfg(feature = "tls")]
        debug.field("tls", &self.tls);
        debug.finish()
    }
}
