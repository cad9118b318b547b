//! What the receiver takes at most.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use safelight_store::Store;

/// The bounds of one receiver. Every one is a flag and an environment variable.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Limits {
    /// the largest body of a post, in bytes (1 KiB to 64 MiB)
    #[arg(id = "receiver-max-body-bytes", long = "receiver-max-body-bytes", env = "RECEIVER_MAX_BODY_BYTES", default_value_t = Limits::default().body_bytes,
          value_parser = clap::value_parser!(u32).range(1024..=64 << 20))]
    pub body_bytes: u32,

    /// the memory that the bodies of all posts may take together, in bytes (1 KiB to 1 GiB); later posts wait
    #[arg(id = "receiver-body-memory-bytes", long = "receiver-body-memory-bytes", env = "RECEIVER_BODY_MEMORY_BYTES",
          default_value_t = Limits::default().body_memory_bytes,
          value_parser = clap::value_parser!(u32).range(1024..=1 << 30))]
    pub body_memory_bytes: u32,

    /// the most entries of a bulk post (1 to 1000000)
    #[arg(id = "receiver-max-bulk-entries", long = "receiver-max-bulk-entries", env = "RECEIVER_MAX_BULK_ENTRIES",
          default_value_t = Limits::default().bulk_entries,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub bulk_entries: u32,

    /// the most requests that run at once (1 to 65535); one more is answered 503
    #[arg(id = "receiver-max-concurrent-requests", long = "receiver-max-concurrent-requests", env = "RECEIVER_MAX_CONCURRENT_REQUESTS",
          default_value_t = Limits::default().concurrent_requests,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent_requests: u16,

    /// the longest a request may take, in seconds (1 to 3600)
    #[arg(id = "receiver-request-timeout-seconds", long = "receiver-request-timeout-seconds", env = "RECEIVER_REQUEST_TIMEOUT_SECONDS",
          default_value_t = Limits::default().request_seconds,
          value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub request_seconds: u16,

    /// how many images one transaction may record, a larger single bulk post apart (1 to 100000)
    #[arg(id = "receiver-max-transaction-images", long = "receiver-max-transaction-images", env = "RECEIVER_MAX_TRANSACTION_IMAGES",
          default_value_t = Limits::default().transaction_images,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub transaction_images: u32,

    /// whether webhooks may be called over http, without encryption: true or false
    #[arg(id = "receiver-webhook-allow-http", long = "receiver-webhook-allow-http", env = "WEBHOOK_ALLOW_HTTP", value_name = "BOOL",
          default_value_t = false, action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub webhook_http: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub uploads: UploadLimits,
}

/// The bounds of uploads. They take longer than other requests, and are counted apart.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct UploadLimits {
    /// uploads that are taken in at once (1 to 1024); later ones wait [default: 32, or 4 where the store is a bucket, for
    /// which each takes some 6 MiB of memory]
    #[arg(id = "receiver-uploads", long = "receiver-uploads", env = "RECEIVER_UPLOADS",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub at_once: Option<u16>,

    /// uploads that may wait for others to end (0 to 65535); one more is answered 503
    #[arg(id = "receiver-uploads-waiting", long = "receiver-uploads-waiting", env = "RECEIVER_UPLOADS_WAITING",
          default_value_t = UploadLimits::default().waiting)]
    pub waiting: u16,

    /// the largest file that is taken in, in bytes (1 KiB to 1 TiB)
    #[arg(id = "receiver-max-upload-bytes", long = "receiver-max-upload-bytes", env = "RECEIVER_MAX_UPLOAD_BYTES",
          default_value_t = UploadLimits::default().bytes,
          value_parser = clap::value_parser!(u64).range(1024..=1 << 40))]
    pub bytes: u64,

    /// the longest an upload may take, waiting included, in seconds (1 to 86400)
    #[arg(id = "receiver-upload-seconds", long = "receiver-upload-seconds", env = "RECEIVER_UPLOAD_SECONDS",
          default_value_t = UploadLimits::default().seconds,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,

    /// the longest an upload may go on without a byte, in seconds (1 to 600)
    #[arg(id = "receiver-upload-stall-seconds", long = "receiver-upload-stall-seconds", env = "RECEIVER_UPLOAD_STALL_SECONDS",
          default_value_t = UploadLimits::default().stall_seconds,
          value_parser = clap::value_parser!(u16).range(1..=600))]
    pub stall_seconds: u16,
}

impl UploadLimits {
    /// The longest an upload may take.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }

    /// The longest it may go on without a byte.
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_seconds.into())
    }

    /// How many are taken in at once.
    pub(crate) fn slots(&self, store: Option<&Store>) -> usize {
        let is_bucket = store.is_some_and(|store| store.folder().is_none());
        let usual = if is_bucket { 4 } else { 32 };
        self.at_once.unwrap_or(usual).into()
    }

    /// After this an upload that was not recorded never will be.
    pub(crate) fn given_up_after(&self) -> Duration {
        self.time() + Duration::from_secs(60 * 60)
    }
}

impl Default for UploadLimits {
    /// 32 or 4 at once and 4,096 that wait, 2 GiB, an hour, 30 s without a byte.
    fn default() -> Self {
        Self {
            at_once: None,
            waiting: 4096,
            bytes: 2 << 30,
            seconds: 3600,
            stall_seconds: 30,
        }
    }
}

impl Limits {
    /// The longest a request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_seconds.into())
    }
}

impl Default for Limits {
    /// 4 MiB a body and 8 MiB for all, 10,000 entries, 256 requests, 15 s, 1,000 images a transaction; webhooks over https.
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            body_memory_bytes: 8 << 20,
            bulk_entries: 10_000,
            concurrent_requests: 256,
            request_seconds: 15,
            transaction_images: 1_000,
            webhook_http: false,
            uploads: UploadLimits::default(),
        }
    }
}
