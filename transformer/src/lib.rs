//! Pictures made out of media, behind gRPC.
//!
//! A [`Transformer`] reads a medium through the [`Library`](safelight_media::Library), works on it in a bounded number
//! of threads (`workshop`), films by ffmpeg in a box (`film`), and puts what it made into the [`Store`](safelight_store::Store) once. [`serve`] puts the
//! contract `safelight.transformer.v1` in front of it.

mod config;
mod error;
mod film;
mod grpc;
mod resize;
mod room;
mod server;
mod size;
mod thumbnails;
mod transformer;
mod workshop;

pub use crate::config::{Config, NoSandbox};
pub use crate::error::TransformError;
pub use crate::film::{Animation, SandboxMode};
pub use crate::server::serve;
pub use crate::size::Size;
pub use crate::transformer::{Output, Probe, Transformer};
