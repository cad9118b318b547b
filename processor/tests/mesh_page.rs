//! The program shows its mesh on its HTTP port, and takes orders there only where it was told to.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use safelight_database::{Database, Options};
use serde_json::Value;

/// The program. Dropped, it is killed.
struct Program {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

fn command(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Command {
    let recognizer = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = recognizer.local_addr().unwrap();
    let database = format!("sqlite://{}", folder.path().join("safelight.db").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_safelight-processor"));
    command
        .current_dir(folder)
        .env("DATABASE_URL", database)
        .env("QUEUE", "embedded")
        .env("PROCESSOR_LISTEN", "127.0.0.1:0")
        .env("GRPC_ADDRESS", nobody.to_string())
        .env("RUST_LOG", "info")
        .envs(variables.iter().copied())
        .stderr(Stdio::piped());
    command
}

// === impl Program ===

impl Program {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}", folder.path().join("safelight.db").display());
        let database = Database::connect(&database, &Options::default()).await.unwrap();
        database.migrate().await.unwrap();
        drop(database);
        let mut child = command(&folder, variables).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = log
            .by_ref()
            .map(|line| line.unwrap())
            .find_map(|line| {
                let (_, address) = line.split_once("address=")?;
                address.trim().parse().ok()
            })
            .expect("it says where it listens");
        // So that it never waits for somebody to read its log.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            child,
            address,
            _folder: folder,
        }
    }

    /// The status and the body of an answer.
    fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}")),
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const FORCE_OPEN: &str = "/mesh/targets/recognizer/endpoints/all/force-open";
const FAULTS: &str = "/mesh/targets/recognizer/faults";

/// Asks until the recognizer is shown with an endpoint: its target is made after the port is opened.
async fn shown(program: &Program) -> Value {
    let look = async {
        loop {
            let (status, mesh) = program.ask("GET", "/mesh");
            assert_eq!(status, 200, "{mesh}");
            if !mesh["targets"][0]["endpoints"][0].is_null() {
                return mesh;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), look).await.unwrap()
}

#[tokio::test]
async fn the_mesh_is_shown_and_takes_no_orders_unless_told_to() {
    let program = Program::start(&[]).await;
    let mesh = shown(&program).await;
    assert_eq!(mesh["targets"][0]["target"], "recognizer");
    let (status, explanation) = program.ask("GET", "/mesh/explain?target=recognizer");
    assert_eq!((status, &explanation["target"]), (200, &"recognizer".into()));
    for (method, path, variable) in [("POST", FORCE_OPEN, "MESH_ADMIN"), ("GET", FAULTS, "MESH_FAULTS")] {
        let (status, problem) = program.ask(method, path);
        assert_eq!(status, 403);
        assert!(
            problem["detail"].as_str().unwrap().contains(variable),
            "{problem}"
        );
    }
}

#[tokio::test]
async fn orders_and_faults_are_taken_where_the_environment_says_so() {
    let program = Program::start(&[("MESH_ADMIN", "true"), ("MESH_FAULTS", "1")]).await;
    shown(&program).await;
    let (status, ordered) = program.ask("POST", FORCE_OPEN);
    assert_eq!((status, &ordered["endpoints"][0]["forced"]), (200, &true.into()));
    assert_eq!(program.ask("GET", FAULTS).0, 200);
}

#[test]
fn a_value_that_is_neither_true_nor_false_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(&folder, &[("MESH_FAULTS", "sometimes")])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(
        line.contains("MESH_FAULTS (--mesh-faults): 'sometimes' was given") && line.contains("true or false"),
        "{line}"
    );
}
