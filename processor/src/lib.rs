//! Takes every accepted image to the services that work on it.
//!
//! A message on the queue, or the [sweep](sweep) where there is none, names a task. The processor
//! [claims](safelight_database::Claim) it, calls the service that does such work through the mesh, and writes what
//! came of it, all under a [lease](safelight_service::lease) that belongs to the claim:
//!
//! ```text
//! queue ──► consumer ──┐
//!                      ├─► work: claim ─► call ─► verdict ─► done · bad · again · wait
//! database ─► sweep ───┘          (lease renewed meanwhile)
//! ```
//!
//! Each kind of work is a line of its own, with its own topic and hands. While a service is away its circuit is open:
//! the [`consumer`] and [`sweep`] of its lines take no work, nothing is failed and no try is used up, and the lines of
//! other services go on. What each answer means for the task is decided in one place, [`verdict`].

mod arguments;
pub mod consumer;
mod crew;
mod job;
mod joins;
pub mod recognition;
mod service;
mod settings;
pub mod sweep;
mod transforming;
pub mod verdict;
mod vitality;
mod work;

pub use arguments::{OpsArgs, ProcessorArgs};
pub use recognition::{RecognizerApi, RecognizerClient};
pub use safelight_service::lease;
pub use service::{Processor, run};
pub use settings::Settings;
