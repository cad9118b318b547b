//! Forms with files, as a browser or curl sends them, and what a receiver made of them.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use safelight_receiver::{Limits, UploadLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{DEADLINE, Served, problem, until};

pub(crate) const BOUNDARY: &str = "between";
pub(crate) const TO_A: &str = "/prepare?email=a@b.c";

/// A part of a form.
pub(crate) fn part(headers: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {headers}\r\n\r\n").into_bytes();
    part.extend_from_slice(content);
    part.extend_from_slice(b"\r\n");
    part
}

/// The part that is the file.
pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    part(&format!("name=\"data\"; filename=\"{name}\""), content)
}

pub(crate) fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut form = parts.concat();
    form.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    form
}

pub(crate) async fn send(served: &Served, path: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = served.client.post(served.url(path)).header(
        "content-type",
        format!("multipart/form-data; boundary={BOUNDARY}"),
    );
    request.body(body).send().await.unwrap()
}

/// Sends a file under a key.
pub(crate) async fn send_under(served: &Served, key: &str, name: &str, content: &[u8]) -> Response {
    let request = served.client.post(served.url(TO_A)).header(
        "content-type",
        format!("multipart/form-data; boundary={BOUNDARY}"),
    );
    let request = request.header("idempotency-key", key);
    request.body(form(&[file(name, content)])).send().await.unwrap()
}

pub(crate) async fn send_file(served: &Served, name: &str, content: &[u8]) -> Response {
    send(served, TO_A, form(&[file(name, content)])).await
}

/// A body that is sent by hand, as slowly as a test wants.
pub(crate) struct Slow {
    stream: TcpStream,
}

impl Slow {
    /// Sends the head of a request whose body has `length` bytes, and the beginning of its file.
    pub(crate) async fn begin(served: &Served, length: usize, beginning: &[u8]) -> Self {
        let mut slow = Self::with_head(served, TO_A, length, "").await;
        slow.go_on(beginning).await;
        slow
    }

    /// As [`Slow::begin`], under a key.
    pub(crate) async fn begin_under(served: &Served, key: &str, length: usize, beginning: &[u8]) -> Self {
        let header = format!("Idempotency-Key: {key}\r\n");
        let mut slow = Self::with_head(served, TO_A, length, &header).await;
        slow.go_on(beginning).await;
        slow
    }

    /// Asks whether a body of `length` bytes may be sent, as curl does.
    pub(crate) async fn ask(served: &Served, path: &str, length: usize) -> Self {
        Self::with_head(served, path, length, "Expect: 100-continue\r\n").await
    }

    async fn with_head(served: &Served, path: &str, length: usize, more: &str) -> Self {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: receiver\r\nContent-Length: {length}\r\n{more}\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Self { stream }
    }

    pub(crate) async fn go_on(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// What is answered, from the status line on.
    pub(crate) async fn answer(&mut self) -> String {
        let mut answer = String::new();
        let reading = async {
            let mut buffer = [0; 4096];
            while !answer.contains("}") {
                let read = self.stream.read(&mut buffer).await.unwrap();
                assert!(read > 0, "the connection ended: {answer}");
                answer.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.unwrap();
        answer
    }
}

/// All files in the store, those of a beginning included.
pub(crate) fn objects(served: &Served) -> Vec<PathBuf> {
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

pub(crate) async fn uploads_begun(served: &Served) -> usize {
    let begun = served.database.uploads().abandoned(Duration::ZERO, 1000).await;
    begun.unwrap().len()
}

pub(crate) async fn assert_nothing_is_recorded(served: &Served) {
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
    assert_eq!(served.database.outbox().pending().await.unwrap(), 0);
}

/// Nothing of a refused upload stays, without waiting for the sweep.
pub(crate) async fn assert_nothing_stays(served: &Served) {
    until("nothing lies in the store", || async {
        objects(served).is_empty()
    })
    .await;
    assert_eq!(uploads_begun(served).await, 0);
    assert_nothing_is_recorded(served).await;
}

/// The kind and the detail of the answer to what has to be refused.
pub(crate) async fn refused(
    served: &Served,
    path: &str,
    body: Vec<u8>,
    status: StatusCode,
) -> (String, String) {
    let problem = problem(send(served, path, body).await, status).await;
    assert_nothing_stays(served).await;
    problem
}

pub(crate) fn with_uploads(uploads: UploadLimits) -> Limits {
    Limits {
        uploads,
        ..Limits::default()
    }
}
