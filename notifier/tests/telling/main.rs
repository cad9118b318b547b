//! What the notifier promises, against a real mail server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod road;

mod digest;
mod dying;
mod mail;
mod webhook;
