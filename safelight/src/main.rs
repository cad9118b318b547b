//! The `safelight` program.
fn main() {}
