//! The `recognizer` program.
fn main() {}
