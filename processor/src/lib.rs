//! Takes every accepted image to the services that work on it.
//!
//! A message on the queue, or the [sweep](sweep) where there is none, names an image. The processor
//! [claims](safelight_database::Claim) its task, calls the recognizer through the mesh, and writes what came
//! of it, all under a [lease] that belongs to the claim:
//!
//! ```text
//! queue ──► consumer ──┐
//!                      ├─► work: claim ─► recognition ─► verdict ─► done · bad · again · wait
//! database ─► sweep ───┘            (lease renewed meanwhile)
//! ```
//!
//! While the recognizer is away its circuit is open: [`consumer`] and [`sweep`] take no work, nothing is
//! failed and no try is used up. What each answer of the recognizer means for the image is decided in one
//! place, [`verdict`].

mod arguments;
pub mod consumer;
pub mod recognition;
mod service;
mod settings;
pub mod sweep;
pub mod verdict;
mod vitality;
mod work;

pub use arguments::{OpsArgs, ProcessorArgs};
pub use recognition::{RecognizerApi, RecognizerClient};
pub use safelight_service::lease;
pub use service::{Processor, run};
pub use settings::Settings;
