//! Beside the Go client: what one publishes, the other consumes.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::process::Command;
use tokio::time::timeout;

use super::support::*;

const COUNT: usize = 1000;

/// The Go program of the benchmark. Where it is not built the test is skipped, aloud, and with `CI=true`
/// fails.
fn go_program(test: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = workspace.join(".tools/bin/go-nsq-peer");
    if program.is_file() {
        return Some(program);
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "run scripts/build-go-nsq-peer.sh"
    );
    let line = format!("SKIPPED: {test}: the Go client is not built; run scripts/build-go-nsq-peer.sh\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    None
}

async fn run(program: &Path, nsqd: &Nsqd, arguments: &[&str]) -> Output {
    let running = Command::new(program)
        .arg(format!("-nsqd={}", nsqd.tcp_address()))
        .arg("-topic=images")
        .arg("-channel=ch")
        .arg(format!("-count={COUNT}"))
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = timeout(LIMIT, running).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output
}

/// The first words of the bodies, as the Go program makes them.
fn numbers() -> BTreeSet<String> {
    (0..COUNT).map(|number| format!("{number:07}")).collect()
}

#[tokio::test]
async fn what_the_go_client_publishes_is_consumed_here() {
    require_nsq!();
    let Some(program) = go_program("interop::what_the_go_client_publishes_is_consumed_here") else {
        return;
    };
    for way in ["publish", "mpub"] {
        let nsqd = Nsqd::start(NsqdOptions::default()).await;
        run(&program, &nsqd, &["-size=300", "client", way]).await;
        let mut consumer = consumer(&nsqd);
        let mut missing = numbers();
        while !missing.is_empty() {
            let message = next(&mut consumer).await;
            assert_eq!(message.body().len(), 300);
            let text = String::from_utf8(message.body().to_vec()).unwrap();
            assert!(missing.remove(text.trim_end()), "{text}");
            message.finish().unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_published_here_the_go_client_consumes() {
    require_nsq!();
    let Some(program) = go_program("interop::what_is_published_here_the_go_client_consumes") else {
        return;
    };
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let (single, batch): (Vec<String>, Vec<String>) = numbers()
        .into_iter()
        .map(|number| number + " ")
        .partition(|number| number.as_str() < "0000100");
    for body in single {
        producer.publish(&topic(), body).await.unwrap();
    }
    let batch = batch.into_iter().map(Into::into).collect();
    producer.publish_many(&topic(), batch).await.unwrap();

    let output = run(&program, &nsqd, &["-in-flight=50", "-print", "client", "consume"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let seen: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with("measured"))
        .map(str::to_owned)
        .collect();
    assert_eq!(seen, numbers());
}
