//! What the receiver takes at most.

use std::time::Duration;

use clap::Args;

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
}

impl Limits {
    /// The longest a request may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_seconds.into())
    }
}

impl Default for Limits {
    /// 4 MiB a body and 8 MiB for all, 10,000 entries, 256 requests, 15 s, 1,000 images a transaction.
    fn default() -> Self {
        Self {
            body_bytes: 4 << 20,
            body_memory_bytes: 8 << 20,
            bulk_entries: 10_000,
            concurrent_requests: 256,
            request_seconds: 15,
            transaction_images: 1_000,
        }
    }
}
