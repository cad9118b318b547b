//! The `processor` program.
fn main() {}
