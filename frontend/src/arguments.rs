//! The frontend's configuration.

use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser};
use safelight_database::DatabaseArgs;
use safelight_media::MediaArgs;
use safelight_store::StoreArgs;

/// Pages that show what became of every image.
#[derive(Debug, Parser)]
#[command(name = "safelight-frontend", version)]
pub struct Arguments {
    /// the address to listen on, such as 0.0.0.0
    #[arg(long = "host", env = "FRONTEND_HOST", default_value = "0.0.0.0")]
    pub host: IpAddr,

    /// the port to listen on
    #[arg(long = "port", env = "FRONTEND_PORT", default_value_t = 8081)]
    pub port: u16,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub settings: Settings,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub media: MediaArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

impl Arguments {
    /// The address and port together.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// How the pages look, and what they may cost.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Settings {
    /// images on one page of the list (1 to 500)
    #[arg(id = "frontend-page-size", long = "frontend-page-size", env = "FRONTEND_PAGE_SIZE", default_value_t = Settings::default().page_size,
          value_parser = clap::value_parser!(u32).range(1..=500))]
    pub page_size: u32,

    /// the largest file, in bytes, that the list shows as a small picture; larger ones get a placeholder
    #[arg(id = "frontend-inline-limit", long = "frontend-inline-limit", env = "FRONTEND_INLINE_LIMIT", default_value_t = Settings::default().inline_limit)]
    pub inline_limit: u64,

    /// how many pictures are sent at once (1 to 4096); one more is answered 503
    #[arg(id = "frontend-picture-streams", long = "frontend-picture-streams", env = "FRONTEND_PICTURE_STREAMS",
          default_value_t = Settings::default().picture_streams,
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub picture_streams: u16,

    /// how many requests run at once, pictures apart (1 to 65535); one more is answered 503
    #[arg(id = "frontend-max-concurrent-requests", long = "frontend-max-concurrent-requests", env = "FRONTEND_MAX_CONCURRENT_REQUESTS",
          default_value_t = Settings::default().concurrent_requests,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrent_requests: u16,

    /// the longest a page may take, in seconds (1 to 600)
    #[arg(id = "frontend-request-timeout-seconds", long = "frontend-request-timeout-seconds", env = "FRONTEND_REQUEST_TIMEOUT_SECONDS",
          default_value_t = Settings::default().request_seconds,
          value_parser = clap::value_parser!(u16).range(1..=600))]
    pub request_seconds: u16,

    /// where people reach the receiver, such as http://127.0.0.1:8000; shown in the command of the empty list
    #[arg(id = "receiver-url", long = "receiver-url", env = "RECEIVER_URL", default_value_t = Settings::default().receiver_url)]
    pub receiver_url: String,
}

impl Default for Settings {
    /// 50 images a page, small pictures up to 2 MiB, 64 pictures and 128 other requests at once, 10 s, and a
    /// receiver on this machine.
    fn default() -> Self {
        Self {
            page_size: 50,
            inline_limit: 2 << 20,
            picture_streams: 64,
            concurrent_requests: 128,
            request_seconds: 10,
            receiver_url: "http://127.0.0.1:8000".to_owned(),
        }
    }
}
