//! Tells people by mail, and programs by webhook, what became of a job.
//!
//! The transaction that ends the last task of a job writes a notification for each channel that was asked for. The
//! notifier claims it, because a message on the queue names it or because its sweep finds it, and tells of the job
//! under a lease that belongs to the claim:
//!
//! ```text
//! queue ────► consume ──┐
//!                       ├─► claim ─► gather ─► tell ─► verdict ─► sent · failed · again · wait
//! database ─► sweep ────┘             (lease renewed meanwhile)
//! ```
//!
//! A message has one key, however often it is tried: a notifier that dies after the mail server took a mail and before
//! that was recorded sends it again, with the same Message-ID. While the mail server is away, a gate is closed: nothing
//! is claimed, nothing is failed and no try is used up.

#![forbid(unsafe_code)]

mod address_guard;
mod arguments;
mod configuration;
pub mod digest;
mod digest_letter;
mod folder;
mod gate;
mod letter;
mod line;
mod mail;
mod mail_teller;
mod mailer;
mod pictures;
pub mod schedule;
mod service;
mod settings;
mod signature;
mod smtp;
mod smtp_url;
mod teller;
mod verdict;
mod webhook;
mod webhook_body;
mod webhook_teller;

pub use address_guard::{AddressGuard, Net};
pub use arguments::{NotifierArgs, OpsArgs};
pub use configuration::Configuration;
pub use service::{Notifier, run};
pub use settings::Settings;
pub use signature::Secrets;
pub use smtp_url::{Security, SmtpUrl};
