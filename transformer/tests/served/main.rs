//! What a transformer answers, asked over gRPC.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod films;
#[path = "../../../media/tests/fixtures/mod.rs"]
mod fixtures;
mod place;
mod thumbnails;
