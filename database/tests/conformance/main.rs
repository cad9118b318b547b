//! What every back end must do: each case runs against a private MariaDB and against a SQLite file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod back_end;

mod accepting;
mod batches;
mod claiming;
mod connecting;
mod counting;
mod ending;
mod joining;
mod listing;
mod locking;
mod migrating;
mod notifying;
mod outbox;
mod people;
mod queue;
mod redeeming;
mod turns;
