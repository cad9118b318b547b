//! The client over real connections: to tonic servers, to raw HTTP/2 ones, and to nobody.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod facerecog;
mod http2;
mod outage;
mod probes;
mod verdicts;
