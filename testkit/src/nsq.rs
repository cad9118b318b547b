//! nsqd and nsqlookupd.
//!
//! The programs are taken from `.tools/bin/` beside the workspace's root, or from the `PATH`.

// A test can do nothing with an error of its server but end.
#![allow(clippy::expect_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server_process::{ServerDirectory, ServerProcess, free_port};
use crate::skip::unless_skipped;

const START_LIMIT: Duration = Duration::from_secs(20);
const HTTP_LIMIT: Duration = Duration::from_secs(10);

/// Whether nsqd and nsqlookupd are on this machine.
pub fn nsq_available() -> bool {
    program("nsqd").is_some() && program("nsqlookupd").is_some()
}

/// What [`require_nsq!`](crate::require_nsq) calls: [`nsq_available`], loud where the answer is no.
///
/// # Panics
/// The answer is no and the variable `CI` is `true`.
pub fn nsq_available_or_skipped(test: &str) -> bool {
    unless_skipped(
        nsq_available(),
        test,
        "nsqd or nsqlookupd not found",
        "run scripts/build-nsq.sh",
    )
}

/// Returns from the test that calls it, saying so, where nsqd is not on this machine.
#[macro_export]
macro_rules! require_nsq {
    () => {
        if !$crate::nsq_available_or_skipped(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}

/// An nsqlookupd of the test's own.
#[derive(Debug)]
pub struct NsqLookupd {
    process: ServerProcess,
    directory: ServerDirectory,
    tcp: SocketAddr,
    http: SocketAddr,
}

/// How a private nsqd differs from the default.
#[derive(Debug, Clone, Default)]
pub struct NsqdOptions {
    /// TCP addresses of the nsqlookupds to register with.
    pub lookupd: Vec<SocketAddr>,
    /// More of nsqd's flags, such as `--msg-timeout=2s`.
    pub flags: Vec<String>,
}

/// An nsqd of the test's own.
#[derive(Debug)]
pub struct Nsqd {
    process: ServerProcess,
    directory: ServerDirectory,
    options: NsqdOptions,
    tcp: SocketAddr,
    http: SocketAddr,
}

/// What nsqd says about one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelStats {
    /// Messages that wait.
    pub depth: u64,
    /// Messages sent and not answered.
    pub in_flight: u64,
    /// Messages that wait for their delay to pass.
    pub deferred: u64,
    /// Messages that ever came into the channel.
    pub messages: u64,
    /// Messages ever requeued.
    pub requeued: u64,
    /// Messages ever timed out.
    pub timed_out: u64,
    /// The RDY of each consumer.
    pub ready: Vec<u64>,
}

// === impl NsqLookupd ===

impl NsqLookupd {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// It is not on this machine, or does not start.
    pub async fn start() -> Self {
        let directory = ServerDirectory::create("nsqlookupd").expect("a directory for nsqlookupd");
        let (tcp, http) = (local(free_port()), local(free_port()));
        let process = spawn_lookupd(&directory, tcp, http).await;
        Self {
            process,
            directory,
            tcp,
            http,
        }
    }

    /// Where nsqds register.
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Where consumers ask.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Ends it at once (SIGKILL). What it knew is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same ports, after a kill or instead of what runs.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn_lookupd(&self.directory, self.tcp, self.http).await;
    }

    /// Stops it in its tracks: it accepts connections and answers nothing.
    pub async fn freeze(&mut self) {
        self.process.freeze();
        until_stopped(&self.process).await;
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.process.thaw();
    }
}

async fn spawn_lookupd(directory: &ServerDirectory, tcp: SocketAddr, http: SocketAddr) -> ServerProcess {
    let mut command = Command::new(required_program("nsqlookupd"));
    command
        .arg(format!("--tcp-address={tcp}"))
        .arg(format!("--http-address={http}"))
        .arg("--broadcast-address=127.0.0.1");
    started("nsqlookupd", command, directory.path(), &[tcp, http]).await
}

// === impl Nsqd ===

impl Nsqd {
    /// Starts it and waits until it answers.
    ///
    /// # Panics
    /// It is not on this machine, or does not start.
    pub async fn start(options: NsqdOptions) -> Self {
        let directory = ServerDirectory::create("nsqd").expect("a directory for nsqd");
        let (tcp, http) = (local(free_port()), local(free_port()));
        let process = spawn_nsqd(&directory, &options, tcp, http).await;
        Self {
            process,
            directory,
            options,
            tcp,
            http,
        }
    }

    /// Where producers and consumers connect.
    pub fn tcp_address(&self) -> SocketAddr {
        self.tcp
    }

    /// Where statistics are.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Where it keeps messages.
    pub fn data_path(&self) -> &Path {
        self.directory.path()
    }

    /// Ends it at once (SIGKILL). What it held in memory is gone.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to end (SIGTERM), so that it writes out what it holds, and waits for that.
    pub async fn terminate(&mut self) {
        self.process.terminate(Duration::from_secs(10)).await;
    }

    /// Starts it again with the same ports and data, after a kill or instead of what runs.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.process.kill();
        self.process = spawn_nsqd(&self.directory, &self.options, self.tcp, self.http).await;
    }

    /// Stops it in its tracks: connections stay open and nothing answers.
    pub async fn freeze(&mut self) {
        self.process.freeze();
        until_stopped(&self.process).await;
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.process.thaw();
    }

    /// Makes a topic known.
    ///
    /// # Panics
    /// nsqd does not do it.
    pub async fn create_topic(&self, topic: &str) {
        self.post(&format!("/topic/create?topic={topic}")).await;
    }

    /// Makes a channel known, and its topic.
    ///
    /// # Panics
    /// nsqd does not do it.
    pub async fn create_channel(&self, topic: &str, channel: &str) {
        self.post(&format!("/topic/create?topic={topic}")).await;
        self.post(&format!("/channel/create?topic={topic}&channel={channel}"))
            .await;
    }

    /// Everything nsqd says about itself.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn stats(&self) -> Value {
        let (status, body) = http(self.http, "GET", "/stats?format=json").await;
        assert_eq!(status, 200, "nsqd's statistics");
        serde_json::from_slice(&body).expect("nsqd's statistics are JSON")
    }

    /// What nsqd says about one channel; all zero while it does not exist.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn channel(&self, topic: &str, channel: &str) -> ChannelStats {
        let stats = self.stats().await;
        let named = |list: &Value, key: &str, name: &str| {
            let items = list.as_array().into_iter().flatten();
            items.clone().find(|item| item[key] == name).cloned()
        };
        let topic = named(&stats["topics"], "topic_name", topic);
        let channel = topic.and_then(|topic| named(&topic["channels"], "channel_name", channel));
        channel
            .map(|channel| ChannelStats::parse(&channel))
            .unwrap_or_default()
    }

    async fn post(&self, path: &str) {
        let (status, _) = http(self.http, "POST", path).await;
        assert_eq!(status, 200, "POST {path}");
    }
}

async fn spawn_nsqd(
    directory: &ServerDirectory,
    options: &NsqdOptions,
    tcp: SocketAddr,
    http: SocketAddr,
) -> ServerProcess {
    let mut command = Command::new(required_program("nsqd"));
    command
        .arg(format!("--tcp-address={tcp}"))
        .arg(format!("--http-address={http}"))
        .arg("--broadcast-address=127.0.0.1")
        .arg(format!("--data-path={}", directory.path().display()));
    for lookupd in &options.lookupd {
        command.arg(format!("--lookupd-tcp-address={lookupd}"));
    }
    command.args(&options.flags);
    started("nsqd", command, directory.path(), &[tcp, http]).await
}

// === impl ChannelStats ===

impl ChannelStats {
    fn parse(channel: &Value) -> Self {
        let number = |key: &str| channel[key].as_u64().unwrap_or(0);
        let clients = channel["clients"].as_array().into_iter().flatten();
        Self {
            depth: number("depth"),
            in_flight: number("in_flight_count"),
            deferred: number("deferred_count"),
            messages: number("message_count"),
            requeued: number("requeue_count"),
            timed_out: number("timeout_count"),
            ready: clients
                .filter_map(|client| client["ready_count"].as_u64())
                .collect(),
        }
    }
}

/// SIGSTOP reaches the threads of a process one after the other.
async fn until_stopped(process: &ServerProcess) {
    let threads = format!("/proc/{}/task", process.pid());
    let stopped = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        // The state is the word behind the name, which is in parentheses. A thread that is gone is stopped.
        stat.map_or(true, |stat| {
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        })
    };
    let all_stopped = async {
        while !std::fs::read_dir(&threads)
            .expect("the process exists")
            .all(stopped)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(START_LIMIT, all_stopped)
        .await
        .expect("a process can be stopped");
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn program(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(workspace.join(".tools/bin")).chain(std::env::split_paths(&path));
    directories
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

fn required_program(name: &str) -> PathBuf {
    program(name).unwrap_or_else(|| panic!("{name} not found; run scripts/build-nsq.sh"))
}

async fn started(name: &str, command: Command, directory: &Path, addresses: &[SocketAddr]) -> ServerProcess {
    let log = directory.join("log");
    let started = async {
        let mut process = ServerProcess::spawn(name, command, &log)?;
        for &address in addresses {
            process.wait_until_listening(address, START_LIMIT).await?;
        }
        std::io::Result::Ok(process)
    };
    started
        .await
        .unwrap_or_else(|error| panic!("{name} could not be started: {error}"))
}

/// One request over HTTP/1.0: the answer ends where the connection does.
async fn http(address: SocketAddr, method: &str, path: &str) -> (u16, Vec<u8>) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(HTTP_LIMIT, exchange).await;
    let answer = answer
        .expect("nsqd answers in time")
        .expect("nsqd answers over HTTP");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an HTTP answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok());
    (
        status.expect("an HTTP answer has a status"),
        answer[end + 4..].to_vec(),
    )
}
