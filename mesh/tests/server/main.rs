//! The server side over real connections, asked by tonic's clients and by raw bytes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connections;
mod deadlines;
mod drain;
mod facerecog;
mod health;
mod refusals;
mod telemetry;
