use serde_json::{Value, json};

use crate::receiver::Receiver;
use crate::run;

/// An image with these tasks, each by kind, state and reason.
fn record(status: &str, reason: Option<&str>, tasks: &[(&str, &str, Option<&str>)]) -> Value {
    let task = |(kind, state, reason): &(&str, &str, Option<&str>)| {
        json!({ "kind": kind, "state": state, "reason": reason, "tries": 0, "waits": 0,
                "available_at_ms": null, "started_at_ms": null, "ended_at_ms": null })
    };
    let tasks: Vec<Value> = tasks.iter().map(task).collect();
    json!({ "id": 1, "path": "x", "status": status, "reason": reason, "people": [], "faces": [],
            "tasks": tasks, "outputs": [], "created_at_ms": 0, "updated_at_ms": 0 })
}

/// A file, posted and waited for.
async fn post(receiver: &Receiver, more: &[&str]) -> crate::Outcome {
    let file = tempfile::Builder::new().suffix(".png").tempfile().unwrap();
    let mut arguments = vec![
        "post",
        file.path().to_str().unwrap(),
        "--wait",
        "--every",
        "1ms",
        "--url",
        &receiver.url,
    ];
    arguments.extend(more);
    let mut outcome = run(&arguments).await;
    for line in &mut outcome.lines {
        *line = line.replace(file.path().to_str().unwrap(), "FILE");
    }
    outcome
}

#[tokio::test]
async fn each_step_of_each_task_is_told_once_until_the_image_is_done() {
    let receiver = Receiver::start().await;
    let prepared = ("prepare", "done", None);
    receiver.shows(
        1,
        [
            record("pending", None, &[("prepare", "ready", None)]),
            record("processing", None, &[("prepare", "ready", None)]),
            record("pending", None, &[prepared, ("thumbnail", "ready", None)]),
            record("pending", None, &[prepared, ("thumbnail", "ready", None)]),
            record("processed", None, &[prepared, ("thumbnail", "done", None)]),
        ],
    );
    let outcome = post(&receiver, &[]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let (last, steps) = outcome.lines.split_last().unwrap();
    assert_eq!(
        steps,
        [
            "FILE: posted, image 1",
            "FILE: prepare ready",
            "FILE: prepare done",
            "FILE: thumbnail ready",
            "FILE: thumbnail done",
            "FILE: processed",
        ]
    );
    assert!(
        last.starts_with("post: 1 files, 1 processed, 0 failed, 0 refused, "),
        "{last}"
    );
}

#[tokio::test]
async fn an_image_that_failed_is_told_with_its_reason_and_by_the_exit_status() {
    let receiver = Receiver::start().await;
    let reason = Some("neither a picture nor a film");
    receiver.shows(1, [record("failed", reason, &[("prepare", "failed", reason)])]);
    let outcome = post(&receiver, &[]).await;
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.lines[2], "FILE: failed: neither a picture nor a film");
    assert!(
        outcome
            .last()
            .starts_with("post: 1 files, 0 processed, 1 failed, 0 refused, "),
        "{}",
        outcome.last()
    );
}

#[tokio::test]
async fn a_receiver_that_is_away_while_it_is_asked_is_waited_for() {
    let receiver = Receiver::start().await;
    receiver.shows(1, [record("pending", None, &[])]);
    receiver.is_away_for(1);
    receiver.shows(1, [record("processed", None, &[])]);
    let outcome = post(&receiver, &["--tries", "1"]).await;
    assert_eq!(outcome.code, 0, "{:?} {}", outcome.lines, outcome.errors);
}

#[tokio::test]
async fn an_image_that_nobody_knows_any_more_counts_as_failed() {
    let outcome = post(&Receiver::start().await, &[]).await;
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.lines[1], "FILE: failed: no such image");
}

#[tokio::test]
async fn json_is_an_object_for_each_file_and_one_for_all() {
    let receiver = Receiver::start().await;
    receiver.shows(1, [record("processed", None, &[("thumbnail", "done", None)])]);
    let outcome = post(&receiver, &["--json"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let objects = outcome.json();
    assert_eq!(objects.len(), 2, "{:?}", outcome.lines);
    assert_eq!(objects[0]["file"], "FILE");
    assert_eq!(objects[0]["id"], 1);
    assert_eq!(objects[0]["path"], "file:///store/1");
    assert_eq!(objects[0]["status"], "processed");
    assert_eq!(objects[0]["tasks"][0]["kind"], "thumbnail");
    assert_eq!(objects[1]["files"], 1);
    assert_eq!(objects[1]["processed"], 1);
    assert!(objects[1]["seconds"].is_number());
}

#[tokio::test]
async fn an_address_that_is_no_receivers_is_a_wrong_configuration() {
    let outcome = run(&["post", "x.png", "--url", "https://example.org"]).await;
    assert_eq!(outcome.code, 78);
    assert!(
        outcome.errors.contains("expected") && outcome.errors.contains("https://example.org"),
        "{}",
        outcome.errors
    );
}
