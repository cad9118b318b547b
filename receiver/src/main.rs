//! The `receiver` program.
fn main() {}
