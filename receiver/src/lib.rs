//! The receiver: takes images in over HTTP, records them, and announces them to the queue.
//!
//! A post is answered 202 when its record, its task and its outbox entry are committed, in one
//! transaction; nothing that was answered 202 can be lost after that. The queue is not asked: the
//! [relay](safelight_queue::Relay) carries the outbox to it, at once when it is there, later when it is away.
//!
//! ```text
//! POST ─► body ─► door ─► group commit ─► database
//!         limits  library  one transaction    │ outbox
//!                          for all who wait   └─► relay ─► queue
//! ```
//!
//! A file that is uploaded (`POST /prepare`) is streamed into the store first, under a key that is written down before
//! its first byte; recording it takes that entry away, in the same transaction. What is left of uploads that were given
//! up is [swept](UploadSweep).

mod accept;
mod arguments;
mod body;
mod door;
mod following;
mod form;
mod landing;
mod limits;
mod member;
mod object_key;
mod outputs;
mod post;
mod posted;
mod prepare;
mod problems;
mod records;
mod server;
mod sweep;
mod turned;
mod upload_key;

pub use arguments::Arguments;
pub use limits::{Limits, UploadLimits};
pub use server::{Deps, ServeError, serve};
pub use sweep::{SweepError, UploadSweep};
