use std::time::Duration;

use clap::Args;
use thiserror::Error;

use crate::film::{Bounds, FilmLimits, SandboxMode};

/// How a transformer works.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// media that are worked on at once, from 1 to 256 [default: one a core]
    #[arg(
        long = "transformer-workers",
        env = "TRANSFORMER_WORKERS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "NUMBER"
    )]
    pub workers: Option<u16>,

    /// media that may wait for a worker; more are answered RESOURCE_EXHAUSTED
    #[arg(
        id = "transformer-queue",
        long = "transformer-queue",
        env = "TRANSFORMER_QUEUE",
        default_value_t = 64,
        value_name = "NUMBER"
    )]
    pub queue: u16,

    /// the largest film, in bytes
    #[arg(
        long = "transformer-max-film-bytes",
        env = "TRANSFORMER_MAX_FILM_BYTES",
        default_value_t = 2 << 30,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "BYTES"
    )]
    pub max_film_bytes: u64,

    /// the longest film, in seconds
    #[arg(
        long = "transformer-max-film-seconds",
        env = "TRANSFORMER_MAX_FILM_SECONDS",
        default_value_t = 4 * 60 * 60,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "SECONDS"
    )]
    pub max_film_seconds: u32,

    /// for one run of ffmpeg over a film, in seconds from 1
    #[arg(
        long = "transformer-film-seconds",
        env = "TRANSFORMER_FILM_SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=3600),
        value_name = "SECONDS"
    )]
    pub film_seconds: u32,

    /// whether ffmpeg has to be boxed in by setpriv and unshare
    #[arg(
        long = "transformer-sandbox",
        env = "TRANSFORMER_SANDBOX",
        value_enum,
        default_value_t = SandboxMode::Auto
    )]
    pub sandbox: SandboxMode,
}

/// The program does not start without a sandbox, as it was told, and there is none.
#[derive(Debug, Error)]
#[error(
    "TRANSFORMER_SANDBOX: \"require\" cannot be kept, as setpriv, choom, unshare or prlimit (util-linux) are missing or not allowed \
     here; expected auto or off, or a machine that has them"
)]
pub struct NoSandbox;

// === impl Config ===

impl Config {
    pub(crate) fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from)
    }

    pub(crate) fn film_limits(&self, max_pixels: u64) -> FilmLimits {
        FilmLimits {
            bounds: Bounds {
                max_pixels,
                threads: std::thread::available_parallelism().map_or(1, usize::from),
            },
            max_bytes: self.max_film_bytes,
            max_duration_ms: u64::from(self.max_film_seconds) * 1000,
            within: Duration::from_secs(self.film_seconds.into()),
        }
    }
}
