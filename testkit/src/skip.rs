//! Tests of what is not installed.

use std::io::Write as _;

/// Whether a test can run: `is_there`, or else says that it is skipped, because of what is `missing`, and the `remedy`.
///
/// # Panics
/// It is not there, and the variable `CI` is `true`.
pub(crate) fn unless_skipped(is_there: bool, test: &str, missing: &str, remedy: &str) -> bool {
    if is_there {
        return true;
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{missing}, and with CI=true no test is skipped; {remedy}"
    );
    // Not `eprintln!`, whose output the test harness keeps to itself when a test passes.
    let line = format!("SKIPPED: {test}: {missing}; {remedy}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}
