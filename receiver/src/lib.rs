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

mod accept;
mod arguments;
mod body;
mod door;
mod limits;
mod post;
mod posted;
mod problems;
mod records;
mod server;

pub use arguments::Arguments;
pub use limits::Limits;
pub use server::{Deps, ServeError, serve};
