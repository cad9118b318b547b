//! What the notifier promises, against a real mail server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod road;
mod secure;

mod digest;
mod dying;
mod mail;
mod webhook;
