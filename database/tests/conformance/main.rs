//! What every back end must do: each case runs against a private MariaDB and against a SQLite file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod back_end;

mod accepting;
mod claiming;
mod connecting;
mod counting;
mod ending;
mod listing;
mod locking;
mod migrating;
mod outbox;
mod people;
mod queue;
mod redeeming;
