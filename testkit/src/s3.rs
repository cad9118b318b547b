//! An S3 server, by s3s-fs: buckets are folders, objects are files.

// A test can do nothing with an error of its server but end.
#![allow(clippy::expect_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::server_process::{ServerDirectory, ServerProcess, free_port};
use crate::skip::unless_skipped;

const START_LIMIT: Duration = Duration::from_secs(30);
const BUCKET: &str = "pictures";
const ACCESS_KEY: &str = "TESTKEY";
const SECRET_KEY: &str = "test-secret";

/// What [`require_s3!`](crate::require_s3) calls: whether s3s-fs was built, loud where it was not.
///
/// # Panics
/// It was not, and the variable `CI` is `true`.
pub fn s3_available_or_skipped(test: &str) -> bool {
    unless_skipped(
        program().is_file(),
        test,
        "s3s-fs not found in .tools",
        "run scripts/build-s3.sh",
    )
}

/// Returns from the test that calls it, saying so, where s3s-fs was not built.
#[macro_export]
macro_rules! require_s3 {
    () => {
        if !$crate::s3_available_or_skipped(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}

/// An S3 server of the test's own, on 127.0.0.1, with one bucket, `pictures`.
#[derive(Debug)]
pub struct S3Server {
    process: Option<ServerProcess>,
    directory: ServerDirectory,
    port: u16,
    is_open: bool,
}

// === impl S3Server ===

impl S3Server {
    /// Starts a server that asks for credentials.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> S3Server {
        Self::start_as(false).await
    }

    /// Starts a server that anybody may use, so that what stands before it may change requests.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start_open() -> S3Server {
        Self::start_as(true).await
    }

    async fn start_as(is_open: bool) -> S3Server {
        let directory = ServerDirectory::create("s3-").expect("a directory");
        let mut server = S3Server {
            process: None,
            directory,
            port: free_port(),
            is_open,
        };
        fs::create_dir_all(server.bucket()).expect("a bucket");
        server.restart().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its bucket, as `STORAGE_URL` has it.
    pub fn url(&self) -> String {
        format!("s3://{BUCKET}")
    }

    /// The bucket's folder: the file of an object has its key's name.
    pub fn bucket(&self) -> PathBuf {
        self.root().join(BUCKET)
    }

    /// What the environment of a program says that uses it.
    pub fn variables(&self) -> Vec<(String, String)> {
        self.variables_at(self.address())
    }

    /// The same, for a program that is to reach it by another address.
    pub fn variables_at(&self, address: SocketAddr) -> Vec<(String, String)> {
        let endpoint = format!("http://{address}");
        let mut variables = vec![
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        if self.is_open {
            variables.push(("AWS_SKIP_SIGNATURE", "true"));
        }
        owned(&variables)
    }

    /// Ends it at once (SIGKILL): connections to it are refused.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, killing it first where it still runs. What was put into it is still there.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(program());
        command
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .arg(self.root());
        if !self.is_open {
            command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]);
        }
        let log = self.directory.path().join("log");
        let mut process = ServerProcess::spawn("s3s-fs", command, &log).expect("a process");
        process
            .wait_until_listening(self.address(), START_LIMIT)
            .await
            .expect("an S3 server");
        self.process = Some(process);
    }

    /// How many files it keeps for uploads that have neither ended nor been given up.
    ///
    /// # Panics
    /// Its folder cannot be read.
    pub fn unfinished(&self) -> usize {
        let entries = fs::read_dir(self.root()).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".upload"))
            .count()
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/s3/bin/s3s-fs")
}

pub(crate) fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
