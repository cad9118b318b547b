//! What was put back, by kind, fault and reason.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use safelight_database::{RedeemQuery, RedeemableTask};
use serde::Serialize;

use crate::terminal::printable_cut;

const HEAD: [&str; 4] = ["tasks", "kind", "fault", "reason"];
/// How many groups the table shows; there may be one for each task.
const MOST_SHOWN: usize = 50;
/// How much of a reason the table shows, in characters.
const LONGEST_REASON: usize = 100;

/// Counts tasks while they are put back.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    counts: BTreeMap<(&'static str, String, String), u64>,
    images: BTreeSet<i64>,
    tasks: u64,
}

/// Tasks that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Group {
    tasks: u64,
    kind: &'static str,
    fault: String,
    reason: String,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    dry_run: bool,
    tasks: u64,
    images: usize,
    /// Jobs that are told of once more.
    reopened: u64,
    limit_reached: bool,
    /// The largest first.
    groups: Vec<Group>,
}

// === impl Groups ===

impl Groups {
    pub(crate) fn add(&mut self, tasks: &[RedeemableTask]) {
        for task in tasks {
            let fault = task.fault.as_deref().unwrap_or(RedeemQuery::UNKNOWN).to_owned();
            let reason = task.reason.clone().unwrap_or_default();
            *self
                .counts
                .entry((task.kind.as_str(), fault, reason))
                .or_default() += 1;
            self.images.insert(task.image_id);
            self.tasks += 1;
        }
    }

    pub(crate) fn tasks(&self) -> u64 {
        self.tasks
    }

    pub(crate) fn into_report(self, dry_run: bool, reopened: u64, limit_reached: bool) -> Report {
        let group = |((kind, fault, reason), tasks)| Group {
            tasks,
            kind,
            fault,
            reason,
        };
        let mut groups: Vec<Group> = self.counts.into_iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.tasks));
        Report {
            dry_run,
            tasks: self.tasks,
            images: self.images.len(),
            reopened,
            limit_reached,
            groups,
        }
    }
}

/// The groups as a table; nothing where there are none.
pub(crate) fn table(report: &Report) -> String {
    if report.groups.is_empty() {
        return String::new();
    }
    let (shown, hidden) = report.groups.split_at(report.groups.len().min(MOST_SHOWN));
    let cells: Vec<[String; 4]> = shown.iter().map(row).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max();
        widest.unwrap_or(0).max(HEAD[column].len())
    };
    let (w0, w1, w2, w3) = (width(0), width(1), width(2), width(3));
    let line = |[tasks, kind, fault, reason]: [&str; 4]| {
        let line = format!("{tasks:>w0$}  {kind:w1$}  {fault:w2$}  {reason}");
        format!("{}\n", line.trim_end())
    };
    let rule = [w0, w1, w2, w3].map(|width| "-".repeat(width));
    let mut table = line(HEAD) + &line(rule.each_ref().map(String::as_str));
    for row in &cells {
        table += &line(row.each_ref().map(String::as_str));
    }
    if !hidden.is_empty() {
        let tasks: u64 = hidden.iter().map(|group| group.tasks).sum();
        table += &format!(
            "… and {tasks} for {} other reasons; --json lists them\n",
            hidden.len()
        );
    }
    table
}

/// What was done, in one line.
pub(crate) fn last_line(report: &Report, took: Duration) -> String {
    let done = if report.dry_run {
        "would be put back"
    } else {
        "put back"
    };
    let limit = if report.limit_reached {
        " (as many as --limit says)"
    } else {
        ""
    };
    format!(
        "redeem: {} tasks of {} images {done}{limit}, {} jobs to be told of again, {:.1} s",
        report.tasks,
        report.images,
        report.reopened,
        took.as_secs_f64()
    )
}

fn row(group: &Group) -> [String; 4] {
    [
        group.tasks.to_string(),
        group.kind.to_owned(),
        group.fault.clone(),
        printable_cut(&group.reason, LONGEST_REASON),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(groups: Vec<Group>) -> Report {
        Report {
            dry_run: false,
            tasks: groups.iter().map(|group| group.tasks).sum(),
            images: groups.len(),
            reopened: 2,
            limit_reached: false,
            groups,
        }
    }

    fn group(tasks: u64, fault: &str, reason: &str) -> Group {
        Group {
            tasks,
            kind: "thumbnail",
            fault: fault.to_owned(),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn the_table_shows_how_many_tasks_failed_alike() {
        let shown = table(&report(vec![
            group(1200, "storage", "the store is away"),
            group(3, "unknown", ""),
        ]));
        assert_eq!(
            shown,
            "tasks  kind       fault    reason\n\
             -----  ---------  -------  -----------------\n\
             \u{20}1200  thumbnail  storage  the store is away\n\
             \u{20}   3  thumbnail  unknown\n"
        );
    }

    #[test]
    fn a_reason_cannot_write_on_the_terminal_and_is_not_endless() {
        let nasty = format!("\x1b[2J\nred{}", "x".repeat(500));
        let shown = table(&report(vec![group(1, "internal", &nasty)]));
        assert!(!shown.contains('\x1b'), "{shown}");
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(
            shown.contains(" [2J red") && shown.trim_end().ends_with("x…"),
            "{shown}"
        );
    }

    #[test]
    fn of_many_reasons_the_rarest_are_summed_up() {
        let groups = (0..60).map(|number| group(2, "internal", &number.to_string()));
        let shown = table(&report(groups.collect()));
        assert_eq!(shown.lines().count(), 2 + MOST_SHOWN + 1);
        assert!(
            shown.ends_with("… and 20 for 10 other reasons; --json lists them\n"),
            "{shown}"
        );
    }

    #[test]
    fn the_last_line_says_what_was_done_or_would_be() {
        let mut report = report(vec![group(7, "storage", "full")]);
        let took = Duration::from_millis(400);
        assert_eq!(
            last_line(&report, took),
            "redeem: 7 tasks of 1 images put back, 2 jobs to be told of again, 0.4 s"
        );
        report.dry_run = true;
        report.limit_reached = true;
        assert_eq!(
            last_line(&report, took),
            "redeem: 7 tasks of 1 images would be put back (as many as --limit says), 2 jobs to be told of again, 0.4 s"
        );
    }
}
