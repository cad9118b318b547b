//! The frontend: server-rendered pages that show what became of every image.
//!
//! It reads and never writes. A page is whole without scripts; the one script there is refreshes what
//! changed in place. Nothing is loaded from another host, and the content security policy says so.

mod arguments;
mod assets;
mod error_page;
mod filter;
mod image_page;
mod list_page;
mod page;
mod picture;
mod server;
mod stamp;
mod state;
mod tally;

pub use arguments::{Arguments, Settings};
pub use server::{Deps, serve};
