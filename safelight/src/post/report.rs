//! What is shown of the files that are posted, and what they came to.

use std::convert::Infallible;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::follow::{Record, Task};
use super::upload::Taken;
use crate::terminal::printable;

/// Some files were posted and then failed.
const SOME_FAILED: u8 = 3;
/// Some files were not taken.
const SOME_REFUSED: u8 = 2;

/// How many files came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    pub(crate) files: usize,
    pub(crate) posted: usize,
    pub(crate) processed: usize,
    pub(crate) failed: usize,
    pub(crate) refused: usize,
}

/// The lines on standard output, and the bars on standard error where that is a terminal.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
    waits: bool,
    bars: MultiProgress,
    all: ProgressBar,
    tally: Mutex<Tally>,
    begun: Instant,
}

/// A file of which it is known what it came to, as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    file: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tasks: &'a [Task],
}

// === impl Tally ===

impl Tally {
    fn exit_code(self) -> u8 {
        if self.failed > 0 {
            SOME_FAILED
        } else if self.refused > 0 {
            SOME_REFUSED
        } else {
            0
        }
    }

    fn line(self, waited: bool, took: Duration) -> String {
        let Tally {
            files,
            posted,
            processed,
            failed,
            refused,
        } = self;
        let ended = if waited {
            format!("{processed} processed, {failed} failed")
        } else {
            format!("{posted} posted")
        };
        format!(
            "post: {files} files, {ended}, {refused} refused, {:.1} s",
            took.as_secs_f64()
        )
    }
}

// === impl Report ===

impl Report {
    /// `waits` says whether files are followed until they have ended.
    pub(crate) fn new(files: usize, json: bool, waits: bool) -> Report {
        let shown = std::io::stderr().is_terminal() && !json;
        let target = if shown {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bars = MultiProgress::with_draw_target(target);
        let all = bars
            .add(ProgressBar::new(files as u64).with_style(style("{bar:32} {pos}/{len} files {elapsed}")));
        Report {
            json,
            waits,
            bars,
            all,
            tally: Mutex::new(Tally {
                files,
                ..Tally::default()
            }),
            begun: Instant::now(),
        }
    }

    /// Shows how much of a file has been sent, until it is dropped.
    pub(crate) async fn uploading(&self, file: &Path, length: u64, sent: &AtomicU64) -> Infallible {
        const EVERY: Duration = Duration::from_millis(100);
        if self.bars.is_hidden() {
            return std::future::pending().await;
        }
        let bar = ProgressBar::new(length)
            .with_style(style("{bar:32} {bytes}/{total_bytes} {msg}"))
            .with_message(printable(&file.display().to_string()));
        // Removes the bar when the upload is over, and this with it.
        let bar = Shown {
            bars: &self.bars,
            bar: self.bars.insert_before(&self.all, bar),
        };
        loop {
            bar.bar.set_position(sent.load(Ordering::Relaxed));
            tokio::time::sleep(EVERY).await;
        }
    }

    pub(crate) fn refused(&self, file: &Path, reason: &str) {
        self.count(|tally| tally.refused += 1, true);
        self.show(file, &format!("refused: {reason}"));
        self.show_json(&Line {
            file,
            id: None,
            path: None,
            status: "refused",
            reason: Some(reason),
            tasks: &[],
        });
    }

    pub(crate) fn posted(&self, file: &Path, taken: &Taken) {
        self.count(|tally| tally.posted += 1, !self.waits);
        self.show(file, &format!("posted, image {}", taken.id));
        if !self.waits {
            self.show_json(&Line {
                file,
                id: Some(taken.id),
                path: Some(&taken.path),
                status: &taken.status,
                reason: None,
                tasks: &[],
            });
        }
    }

    /// A step of one of its tasks.
    pub(crate) fn changed(&self, file: &Path, change: &str) {
        self.show(file, change);
    }

    /// What became of it in the end, or why nobody can say.
    pub(crate) fn ended(&self, file: &Path, taken: &Taken, end: &Result<Record, String>) {
        let (status, reason, tasks) = match end {
            Ok(record) => (
                record.status.as_str(),
                record.reason.as_deref(),
                record.tasks.as_slice(),
            ),
            Err(why) => ("failed", Some(why.as_str()), &[][..]),
        };
        if status == "processed" {
            self.count(|tally| tally.processed += 1, true);
        } else {
            self.count(|tally| tally.failed += 1, true);
        }
        match reason {
            Some(reason) => self.show(file, &format!("{status}: {reason}")),
            None => self.show(file, status),
        }
        self.show_json(&Line {
            file,
            id: Some(taken.id),
            path: Some(&taken.path),
            status,
            reason,
            tasks,
        });
    }

    /// Prints what it came to all in all.
    pub(crate) fn finish(self) -> ExitCode {
        self.all.finish_and_clear();
        let took = self.begun.elapsed();
        let tally = self.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.json {
            let mut sum = json!(tally);
            sum["seconds"] = json!(took.as_secs_f64());
            println!("{sum}");
        } else {
            println!("{}", tally.line(self.waits, took));
        }
        ExitCode::from(tally.exit_code())
    }

    fn count(&self, change: impl FnOnce(&mut Tally), ended: bool) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
        if ended {
            self.all.inc(1);
        }
    }

    fn show(&self, file: &Path, what: &str) {
        if !self.json {
            let line = printable(&format!("{}: {what}", file.display()));
            self.bars.suspend(|| println!("{line}"));
        }
    }

    fn show_json(&self, line: &Line<'_>) {
        if self.json {
            println!("{}", json!(line));
        }
    }
}

/// A bar that goes with its upload.
struct Shown<'a> {
    bars: &'a MultiProgress,
    bar: ProgressBar,
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.bars.remove(&self.bar);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(400);

    fn tally(processed: usize, failed: usize, refused: usize) -> Tally {
        Tally {
            files: 5,
            posted: processed + failed,
            processed,
            failed,
            refused,
        }
    }

    #[test]
    fn the_last_line_says_what_the_files_came_to() {
        let line = tally(5, 0, 0).line(true, TOOK);
        assert_eq!(line, "post: 5 files, 5 processed, 0 failed, 0 refused, 0.4 s");
        let line = tally(3, 0, 2).line(false, TOOK);
        assert_eq!(line, "post: 5 files, 3 posted, 2 refused, 0.4 s");
    }

    #[test]
    fn the_exit_status_tells_failed_from_refused_and_both_from_good() {
        assert_eq!(tally(5, 0, 0).exit_code(), 0);
        assert_eq!(tally(3, 0, 2).exit_code(), SOME_REFUSED);
        assert_eq!(tally(4, 1, 0).exit_code(), SOME_FAILED);
        assert_eq!(tally(3, 1, 1).exit_code(), SOME_FAILED);
    }
}
