//! Whether films can be made and worked on.

use std::process::{Command, Stdio};

use crate::skip::unless_skipped;

/// What [`require_ffmpeg!`](crate::require_ffmpeg) calls: whether ffmpeg and ffprobe are on this machine, loud where they
/// are not.
///
/// # Panics
/// They are not, and the variable `CI` is `true`.
pub fn ffmpeg_available_or_skipped(test: &str) -> bool {
    unless_skipped(
        ["ffmpeg", "ffprobe"].into_iter().all(runs),
        test,
        "ffmpeg or ffprobe not found",
        "run scripts/setup-test.sh",
    )
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command
        .arg("-version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns from the test that calls it, saying so, where ffmpeg is not on this machine.
#[macro_export]
macro_rules! require_ffmpeg {
    () => {
        if !$crate::ffmpeg_available_or_skipped(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}
