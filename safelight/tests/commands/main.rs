//! The commands of `safelight` as a user gives them: the program itself, what it prints, and how it exits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod notifying;
mod posting;
mod receiver;
mod redeeming;
mod waiting;

use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// How long a command may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a command came to.
struct Outcome {
    lines: Vec<String>,
    errors: String,
    code: i32,
}

fn safelight(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safelight"));
    command.args(arguments).kill_on_drop(true);
    // What the shell of whoever runs the tests has set is no part of them.
    for name in [
        "DATABASE_URL",
        "MYSQL_CONNECTION",
        "RUST_LOG",
        "WEBHOOK_SECRETS",
        "HTTP_PROXY",
        "http_proxy",
    ] {
        command.env_remove(name);
    }
    command
}

async fn run(arguments: &[&str]) -> Outcome {
    let output = timeout(DEADLINE, safelight(arguments).output());
    let output = output.await.expect("it ends").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Outcome {
        lines: text.lines().map(str::to_owned).collect(),
        errors: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().expect("it ends by itself"),
    }
}

impl Outcome {
    fn last(&self) -> &str {
        self.lines.last().map_or("", String::as_str)
    }

    /// The lines as JSON.
    fn json(&self) -> Vec<serde_json::Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap();
        self.lines.iter().map(parse).collect()
    }
}
