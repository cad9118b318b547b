//! Face recognition behind gRPC.
//!
//! A [`Recognizer`] holds three things: a pool of worker threads, each with its own detector and networks
//! (`pool`, `engine`); a gallery of known people (`gallery`), filled from a folder (`folder`) and from the
//! database (`enrolled`); and the state it is in. [`serve`] puts the gRPC contracts in front of it.
//!
//! ```no_run
//! use safelight_media::{Library, MediaArgs};
//! use safelight_recognizer::{Config, Recognizer, serve};
//! use safelight_service::Shutdown;
//!
//! # async fn run(config: Config) -> anyhow::Result<()> {
//! let library = Library::new(&MediaArgs::with_roots(["/pictures".into()]))?;
//! let recognizer = Recognizer::start(config, library, None)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:50051").await?;
//! serve(listener, recognizer, None, Shutdown::on_signals()).await?;
//! # Ok(())
//! # }
//! ```

mod allocator;
mod analysis;
mod blas;
mod budget;
mod close_up;
mod config;
mod cpu;
mod descriptor;
mod engine;
mod enrolled;
mod folder;
mod gallery;
mod grpc;
mod matrix;
mod models;
mod person_name;
mod pool;
mod recognizer;
mod sample;
mod sample_cache;
mod server;
mod stage;
mod state;
mod working_size;

pub use crate::analysis::{Analysis, AnalyzeError, Bounds, Face, Point};
pub use crate::config::{Config, StartError};
pub use crate::cpu::check_cpu;
pub use crate::descriptor::{DESCRIPTOR_LENGTH, Descriptor};
pub use crate::gallery::{KnownFace, Match};
pub use crate::models::{MODEL_NAME, MODEL_VERSION};
pub use crate::recognizer::{EnrollError, Enrolled, ForgetError, Known, Recognizer};
pub use crate::server::serve;
pub use crate::state::State;
