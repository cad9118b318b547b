//! What becomes of an image, until it has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::upload::Receiver;

/// An image as the receiver tells of it, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Record {
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    #[serde(default)]
    pub(crate) tasks: Vec<Task>,
}

/// A task as the receiver tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    kind: String,
    state: String,
    #[serde(default)]
    tries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    started_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
}

/// Where the tasks of an image stood when they were last looked at.
#[derive(Debug, Default)]
struct Seen {
    tasks: BTreeMap<String, String>,
}

// === impl Record ===

impl Record {
    fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "processed" | "failed")
    }
}

// === impl Task ===

impl Task {
    fn stand(&self) -> String {
        let because = |before: &str| match &self.reason {
            Some(reason) => format!("{before}: {reason}"),
            None => before.to_owned(),
        };
        match (self.state.as_str(), &self.waiting_for) {
            ("failed", _) => because("failed"),
            ("ready", Some(service)) => format!("waits for the {service}"),
            ("ready", None) if self.tries > 0 => {
                because(&format!("is tried again after {} tries", self.tries))
            }
            ("done", _) => match (self.started_at_ms, self.ended_at_ms) {
                (Some(started), Some(ended)) => format!("done in {} ms", ended.saturating_sub(started)),
                _ => "done".to_owned(),
            },
            (state, _) => state.to_owned(),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// What has changed, a line for each task.
    fn changes(&mut self, record: &Record) -> Vec<String> {
        let mut lines = Vec::new();
        for task in &record.tasks {
            let stand = task.stand();
            if self.tasks.get(&task.kind) != Some(&stand) {
                lines.push(format!("{} {stand}", task.kind));
                self.tasks.insert(task.kind.clone(), stand);
            }
        }
        lines
    }
}

/// Asks for an image every so often until it has ended, and tells `on_change` of each step of its tasks once. A receiver
/// that is away in the meantime is waited for.
///
/// # Errors
/// Why there is nothing to be known about it, in words.
pub(crate) async fn follow(
    receiver: &Receiver,
    id: i64,
    every: Duration,
    on_change: impl Fn(&str),
) -> Result<Record, String> {
    let mut seen = Seen::default();
    loop {
        let record: Record = receiver.record(id).await?;
        for line in seen.changes(&record) {
            on_change(&line);
        }
        if record.is_final() {
            return Ok(record);
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record(tasks: &str) -> Record {
        serde_json::from_str(&format!(
            r#"{{"id": 1, "status": "pending", "tasks": [{tasks}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn each_step_of_a_task_is_told_once() {
        let mut seen = Seen::default();
        let ready = r#"{"kind": "gif", "state": "ready", "tries": 0}"#;
        let waits =
            r#"{"kind": "gif", "state": "ready", "waiting_for": "transformer", "reason": "no circuit"}"#;
        let again = r#"{"kind": "gif", "state": "ready", "tries": 1, "reason": "timed out"}"#;
        let done = r#"{"kind": "gif", "state": "done", "started_at_ms": 1000, "ended_at_ms": 1250}"#;
        let frame = r#"{"kind": "frame", "state": "failed", "reason": "no pictures in it"}"#;
        assert_eq!(seen.changes(&record(ready)), ["gif ready"]);
        assert_eq!(seen.changes(&record(ready)), [""; 0]);
        assert_eq!(seen.changes(&record(waits)), ["gif waits for the transformer"]);
        assert_eq!(seen.changes(&record(waits)), [""; 0]);
        assert_eq!(
            seen.changes(&record(again)),
            ["gif is tried again after 1 tries: timed out"]
        );
        assert_eq!(
            seen.changes(&record(&format!("{done}, {frame}"))),
            ["gif done in 250 ms", "frame failed: no pictures in it"]
        );
        assert_eq!(seen.changes(&record(&format!("{frame}, {done}"))), [""; 0]);
    }
}
