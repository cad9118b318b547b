use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::timeout;

use crate::receiver::{Answer, Receiver};
use crate::{DEADLINE, run, safelight};

/// A folder with files of these names, each of 10 bytes.
fn folder(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::write(folder.path().join(name), "0123456789").unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_file_is_posted_as_it_is_with_its_name_and_what_was_asked_for() {
    let receiver = Receiver::start().await;
    let files = folder(&["cat.png"]);
    let cat = files.path().join("cat.png");
    let outcome = run(&[
        "post",
        text(&cat),
        "--email",
        "a+b@example.org",
        "--project",
        "zoo & co",
        "--url",
        &format!("{}/", receiver.url),
    ])
    .await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!(outcome.lines[0], format!("{}: posted, image 1", cat.display()));
    assert!(
        outcome.last().starts_with("post: 1 files, 1 posted, 0 refused, "),
        "{}",
        outcome.last()
    );

    let uploads = receiver.uploads();
    let upload = &uploads[0];
    assert_eq!(upload.query, "email=a%2Bb%40example.org&project=zoo+%26+co");
    assert_eq!(
        upload.announced,
        Some(upload.bytes),
        "its length is known at the door"
    );
    let boundary = upload
        .content_type
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap();
    let form = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"cat.png\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n0123456789\r\n--{boundary}--\r\n"
    );
    assert_eq!(String::from_utf8_lossy(&upload.beginning), form);
}

#[tokio::test]
async fn four_files_are_uploaded_at_a_time() {
    let receiver = Receiver::start().await;
    // Until four are there, none goes on: with fewer at a time it would never end.
    receiver.hold_until(4);
    let files = folder(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let outcome = run(&["post", text(files.path()), "--url", &receiver.url]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    assert_eq!((receiver.uploads().len(), receiver.most_at_once()), (9, 4));
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_when_it_said_so() {
    let receiver = Receiver::start().await;
    receiver.answers([Answer::Busy { retry_after: "1" }]);
    let files = folder(&["cat.png"]);
    let outcome = run(&["post", text(files.path()), "--url", &receiver.url]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let uploads = receiver.uploads();
    assert_eq!(uploads.len(), 2);
    let pause = uploads[1].at - uploads[0].at;
    assert!(pause >= Duration::from_secs(1), "it came again after {pause:?}");
    assert_eq!(
        uploads[0].bytes, uploads[1].bytes,
        "the second try sends all of it"
    );
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let receiver = Receiver::start_after_dropping(2).await;
    let files = folder(&["cat.png"]);
    let outcome = run(&["post", text(files.path()), "--url", &receiver.url]).await;
    assert_eq!(outcome.code, 0, "{:?} {}", outcome.lines, outcome.errors);
    assert_eq!(receiver.uploads().len(), 1);
}

#[tokio::test]
async fn every_try_of_a_file_has_one_key_and_every_file_another() {
    let receiver = Receiver::start().await;
    receiver.answers([Answer::Lost, Answer::UnderWay, Answer::Busy { retry_after: "0" }]);
    let files = folder(&["cat.png"]);
    let outcome = run(&["post", text(files.path()), "--url", &receiver.url]).await;
    assert_eq!(outcome.code, 0, "{:?} {}", outcome.lines, outcome.errors);
    run(&["post", text(files.path()), "--url", &receiver.url]).await;

    let uploads = receiver.uploads();
    let keys: Vec<&str> = uploads
        .iter()
        .map(|upload| upload.idempotency_key.as_str())
        .collect();
    assert_eq!(keys.len(), 5, "{keys:?}");
    assert!(
        keys[0].len() == 32 && keys[..4].iter().all(|key| *key == keys[0]),
        "{keys:?}"
    );
    assert_ne!(keys[4], keys[0]);
}

#[tokio::test]
async fn what_is_refused_is_said_in_the_receivers_words_and_the_others_are_posted() {
    let receiver = Receiver::start().await;
    receiver.answers([Answer::Refused]);
    let files = folder(&["cat.png"]);
    let gone = files.path().join("gone.png");
    let cat = files.path().join("cat.png");
    // One by one, so that the script fits: the first is refused by the receiver.
    let refused = run(&["post", text(&cat), "--url", &receiver.url]).await;
    assert_eq!(refused.code, 2);
    assert_eq!(
        refused.lines[0],
        format!("{}: refused: address wrong: a@b has no domain", cat.display())
    );
    assert_eq!(receiver.uploads().len(), 1, "what is refused is not sent again");

    let both = run(&["post", text(&gone), text(&cat), "--url", &receiver.url]).await;
    assert_eq!(both.code, 2);
    assert!(
        both.lines
            .iter()
            .any(|line| line.contains("gone.png: refused: No such file")),
        "{:?}",
        both.lines
    );
    assert!(
        both.last().starts_with("post: 2 files, 1 posted, 1 refused, "),
        "{}",
        both.last()
    );
}

#[tokio::test]
async fn a_receiver_that_stays_busy_is_given_up_after_the_tries() {
    let receiver = Receiver::start().await;
    receiver.always_answers(Answer::Busy { retry_after: "0" });
    let files = folder(&["cat.png"]);
    let outcome = run(&["post", text(files.path()), "--url", &receiver.url, "--tries", "3"]).await;
    assert_eq!((outcome.code, receiver.uploads().len()), (2, 3));
    assert!(
        outcome.lines[0].ends_with("refused: too much at once: come again (tries: 3)"),
        "{}",
        outcome.lines[0]
    );
}

#[tokio::test]
async fn a_large_file_is_never_in_memory_as_a_whole() {
    const LARGE: u64 = 512 << 20;
    let receiver = Receiver::start().await;
    let files = folder(&[]);
    let film = files.path().join("film.mp4");
    std::fs::File::create(&film).unwrap().set_len(LARGE).unwrap();

    let process = Arc::new(OnceLock::<u32>::new());
    let peak = Arc::new(AtomicU64::new(0));
    receiver.when_read({
        let (process, peak) = (Arc::clone(&process), Arc::clone(&peak));
        move || peak.store(peak_memory(process.wait()), Ordering::SeqCst)
    });
    let program = safelight(&["post", text(&film), "--url", &receiver.url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    process.set(program.id().unwrap()).unwrap();
    let output = timeout(DEADLINE, program.wait_with_output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(receiver.uploads()[0].bytes > LARGE);
    let peak = peak.load(Ordering::SeqCst);
    assert!(peak > 0 && peak < LARGE / 4, "{peak} bytes for a file of {LARGE}");
}

/// The most memory that a process has held, in bytes.
fn peak_memory(process: &u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().next().unwrap().parse().unwrap();
    kilobytes * 1024
}
