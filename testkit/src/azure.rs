//! An Azure Blob server, by Azurite.

// A test can do nothing with an error of its server but end.
#![allow(clippy::expect_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::s3::owned;
use crate::server_process::{ServerDirectory, ServerProcess, free_port};
use crate::skip::unless_skipped;

const START_LIMIT: Duration = Duration::from_secs(60);
const SCRIPT: &str = include_str!("azure_container.js");
const CONTAINER: &str = "pictures";
const ACCOUNT: &str = "devstoreaccount1";
/// The key that Azurite is known for.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// What [`require_azure!`](crate::require_azure) calls: whether Azurite was installed, loud where it was not.
///
/// # Panics
/// It was not, and the variable `CI` is `true`.
pub fn azure_available_or_skipped(test: &str) -> bool {
    unless_skipped(
        program().is_file(),
        test,
        "azurite not found in .tools",
        "run scripts/build-azurite.sh",
    )
}

/// Returns from the test that calls it, saying so, where Azurite was not installed.
#[macro_export]
macro_rules! require_azure {
    () => {
        if !$crate::azure_available_or_skipped(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}

/// An Azure Blob server of the test's own, on 127.0.0.1, with one container, `pictures`.
#[derive(Debug)]
pub struct AzureServer {
    process: Option<ServerProcess>,
    directory: ServerDirectory,
    port: u16,
}

// === impl AzureServer ===

impl AzureServer {
    /// Starts a server.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> AzureServer {
        let mut server = AzureServer {
            process: None,
            directory: ServerDirectory::create("azure-").expect("a directory"),
            port: free_port(),
        };
        server.restart().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its container, as `STORAGE_URL` has it.
    pub fn url(&self) -> String {
        format!("az://{CONTAINER}")
    }

    /// What the environment of a program says that uses it.
    pub fn variables(&self) -> Vec<(String, String)> {
        owned(&[
            ("AZURE_STORAGE_ENDPOINT", &self.endpoint()),
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ])
    }

    /// Ends it at once (SIGKILL): connections to it are refused.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, killing it first where it still runs. Its container is there; what was put into
    /// it may be lost.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let folder = self.directory.path();
        let mut command = Command::new("node");
        command
            .arg(program())
            .args(["--blobHost", "127.0.0.1", "--blobPort", &self.port.to_string()])
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry"])
            .arg("--location")
            .arg(folder.join("blobs"));
        let mut process = ServerProcess::spawn("azurite", command, &folder.join("log")).expect("a process");
        process
            .wait_until_listening(self.address(), START_LIMIT)
            .await
            .expect("an Azure Blob server");
        self.process = Some(process);
        self.make_container();
    }

    fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address())
    }

    fn make_container(&self) {
        let script = self.directory.path().join("container.js");
        fs::write(&script, SCRIPT).expect("the script");
        let made = Command::new("node")
            .arg(script)
            .args([&self.endpoint(), ACCOUNT, KEY, CONTAINER])
            .stdin(Stdio::null())
            .output()
            .expect("node");
        assert!(
            made.status.success(),
            "no container: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/azurite/node_modules/azurite/dist/src/blob/main.js")
}
