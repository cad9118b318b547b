//! What becomes of files that are sent to be prepared.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use safelight_database::TaskState;
use safelight_queue::{CHANNEL, decode_id};
use safelight_receiver::{Limits, UploadLimits, UploadSweep};
use serde_json::{Value, json};
use served::{DEADLINE, Served, problem, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const BOUNDARY: &str = "between";
const TO_A: &str = "/prepare?email=a@b.c";

/// A part of a form, as curl writes it.
fn part(headers: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {headers}\r\n\r\n").into_bytes();
    part.extend_from_slice(content);
    part.extend_from_slice(b"\r\n");
    part
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    part(&format!("name=\"data\"; filename=\"{name}\""), content)
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut form = parts.concat();
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

async fn send(served: &Served, path: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = served.client.post(served.url(path)).header(
        "content-type",
        format!("multipart/form-data; boundary={BOUNDARY}"),
    );
    request.body(body).send().await.unwrap()
}

async fn send_file(served: &Served, name: &str, content: &[u8]) -> Response {
    send(served, TO_A, form(&[file(name, content)])).await
}

/// All files in the store, those of a beginning included.
fn objects(served: &Served) -> Vec<PathBuf> {
    fn walk(folder: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(served.folder.path().join("store"), &mut found);
    found
}

async fn uploads_begun(served: &Served) -> usize {
    let begun = served.database.uploads().abandoned(Duration::ZERO, 1000).await;
    begun.unwrap().len()
}

/// Nothing of a refused upload stays, without waiting for the sweep.
async fn assert_nothing_stays(served: &Served) {
    until("nothing lies in the store", || async {
        objects(served).is_empty()
    })
    .await;
    assert_eq!(uploads_begun(served).await, 0);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
    assert_eq!(served.database.outbox().pending().await.unwrap(), 0);
}

async fn refused(served: &Served, path: &str, body: Vec<u8>, status: StatusCode) -> (String, String) {
    let problem = problem(send(served, path, body).await, status).await;
    assert_nothing_stays(served).await;
    problem
}

fn limits(uploads: UploadLimits) -> Limits {
    Limits {
        uploads,
        ..Limits::default()
    }
}

#[tokio::test]
async fn a_picture_is_stored_recorded_and_announced() {
    let served = Served::with_store(Limits::default()).await;
    let mut messages = served.queue.subscribe("prepare", CHANNEL, 64).unwrap();
    let response = send_file(&served, "My cat.png", b"its bytes").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    let id = answer["id"].as_i64().unwrap();
    let path = answer["path"].as_str().unwrap();
    assert_eq!(answer, json!({ "id": id, "path": path, "status": "pending" }));
    assert!(path.ends_with("/My_cat.png"), "{path}");
    assert_eq!(std::fs::read(path).unwrap(), b"its bytes");
    assert_eq!(objects(&served), [PathBuf::from(path)]);
    assert_eq!(uploads_begun(&served).await, 0);

    let record = served.database.images().get(id).await.unwrap().unwrap();
    assert_eq!(record.image.path, path);
    assert_eq!(record.tasks.len(), 1);
    let task = &record.tasks[0];
    assert_eq!((task.kind.as_str(), task.state), ("prepare", TaskState::Ready));
    let message = tokio::time::timeout(DEADLINE, messages.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(decode_id(message.body()).unwrap(), task.id);
}
