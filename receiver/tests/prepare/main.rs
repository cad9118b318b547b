//! What becomes of files that are sent to be prepared, and of posts that say whom to tell.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod followed;
mod forms;
#[path = "../served/mod.rs"]
mod served;

mod bounded;
mod refused;
mod repeated;
mod swept;
mod taken;
