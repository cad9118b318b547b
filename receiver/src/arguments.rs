//! The receiver's configuration.

use std::net::SocketAddr;

use clap::Parser;
use safelight_database::DatabaseArgs;
use safelight_media::MediaArgs;
use safelight_queue::QueueArgs;
use safelight_store::StoreArgs;

use crate::Limits;

/// Takes images in over HTTP, records them, and announces them to the queue.
#[derive(Debug, Parser)]
#[command(name = "safelight-receiver", version)]
pub struct Arguments {
    /// the address and port to listen on, such as 0.0.0.0:8000
    #[arg(long, env = "RECEIVER_LISTEN", default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub database: DatabaseArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub queue: QueueArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub media: MediaArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub limits: Limits,
}
