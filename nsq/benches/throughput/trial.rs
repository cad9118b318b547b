//! One measurement: a fresh topic, a process that works on it, and what that cost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_nsq::{Producer, ProducerConfig, Topic};
use bytes::Bytes;
use safelight_testkit::Nsqd;
use tokio::process::Command;

use crate::report::median;

/// Messages of an MPUB.
pub(crate) const BATCH: usize = 100;
pub(crate) const CHANNEL: &str = "bench";

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// This crate.
    Ours,
    /// The Go client's own types, as people use them.
    GoClient,
    /// Bare commands on a socket, as nsqd's own benchmark does it.
    GoRaw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Publish,
    MultiPublish,
    Consume,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    pub(crate) work: Work,
    /// Length of a body.
    pub(crate) size: usize,
    /// Number of messages.
    pub(crate) count: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Processor seconds that a million messages would take.
    pub(crate) cpu_of_million: f64,
    /// Peak of resident memory, in MiB.
    pub(crate) peak_mib: f64,
}

pub(crate) struct Bench {
    nsqd: Nsqd,
    go_program: PathBuf,
    topics: usize,
}

// === impl Side ===

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Ours => "async-nsq",
            Side::GoClient => "go-nsq",
            Side::GoRaw => "go raw",
        }
    }
}

// === impl Work ===

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Publish => "publish",
            Work::MultiPublish => "mpub",
            Work::Consume => "consume",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Work::Publish, Work::MultiPublish, Work::Consume]
            .into_iter()
            .find(|work| work.name() == name)
    }

    /// Enough for a second or so.
    pub(crate) fn count(self) -> usize {
        match self {
            Work::Publish => 200_000,
            Work::MultiPublish => 1_000_000,
            Work::Consume => 400_000,
        }
    }

    /// Messages that may be unanswered; eight batches with MPUB.
    pub(crate) fn in_flight(self) -> usize {
        match self {
            Work::Publish => 100,
            Work::MultiPublish => 8 * BATCH,
            Work::Consume => 1000,
        }
    }
}

// === impl Cost ===

impl Cost {
    /// From a worker's last line: messages, seconds, processor seconds, KiB.
    fn parse(output: &str) -> Option<Self> {
        let line = output
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("measured "))?;
        let numbers: Vec<f64> = line
            .split(' ')
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()?;
        let &[messages, seconds, cpu_seconds, peak_kib] = &numbers[..] else {
            return None;
        };
        Some(Self {
            rate: messages / seconds,
            cpu_of_million: cpu_seconds / messages * 1e6,
            peak_mib: peak_kib / 1024.0,
        })
    }

    pub(crate) fn median(costs: &[Cost]) -> Self {
        Self {
            rate: median(costs.iter().map(|cost| cost.rate)),
            cpu_of_million: median(costs.iter().map(|cost| cost.cpu_of_million)),
            peak_mib: median(costs.iter().map(|cost| cost.peak_mib)),
        }
    }
}

// === impl Bench ===

impl Bench {
    pub(crate) fn new(nsqd: Nsqd, go_program: PathBuf) -> Self {
        Self {
            nsqd,
            go_program,
            topics: 0,
        }
    }

    pub(crate) async fn run(&mut self, side: Side, trial: Trial) -> Cost {
        self.topics += 1;
        let topic = format!("bench{}", self.topics);
        if trial.work == Work::Consume {
            self.nsqd.create_channel(&topic, CHANNEL).await;
            self.fill(&topic, trial).await;
        } else {
            self.nsqd.create_topic(&topic).await;
        }
        let output = self.command(side, trial, &topic).output().await.unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{side:?} {trial:?}: {errors}");
        self.delete(topic).await;
        Cost::parse(&String::from_utf8_lossy(&output.stdout)).expect("a worker says what it measured")
    }

    fn command(&self, side: Side, trial: Trial, topic: &str) -> Command {
        let mut command = match side {
            Side::Ours => Command::new(std::env::current_exe().unwrap()),
            Side::GoClient | Side::GoRaw => Command::new(&self.go_program),
        };
        if side == Side::Ours {
            command.arg("worker");
        }
        command
            .arg(format!("-nsqd={}", self.nsqd.tcp_address()))
            .arg(format!("-topic={topic}"))
            .arg(format!("-channel={CHANNEL}"))
            .arg(format!("-count={}", trial.count))
            .arg(format!("-size={}", trial.size))
            .arg(format!("-batch={BATCH}"))
            .arg(format!("-in-flight={}", trial.work.in_flight()));
        match side {
            Side::Ours => {}
            Side::GoClient => drop(command.arg("client")),
            Side::GoRaw => drop(command.arg("raw")),
        }
        command
            .arg(trial.work.name())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    async fn fill(&self, topic: &str, trial: Trial) {
        let topic = Topic::new(topic).unwrap();
        let mut config = ProducerConfig::new(self.nsqd.tcp_address().to_string());
        config.publish_timeout = Duration::from_secs(60);
        let producer = Producer::start(config).unwrap();
        let body = Bytes::from(vec![b'x'; trial.size]);
        let batch = (BATCH).min((4 << 20) / (trial.size + 4));
        let mut left = trial.count;
        while left > 0 {
            let bodies = vec![body.clone(); batch.min(left)];
            left -= bodies.len();
            producer.publish_many(&topic, bodies).await.unwrap();
        }
        producer.close().await;
    }

    async fn delete(&self, topic: String) {
        let address = self.nsqd.http_address();
        tokio::task::spawn_blocking(move || delete_topic(address, &topic))
            .await
            .unwrap();
    }
}

fn delete_topic(address: SocketAddr, topic: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request =
        format!("POST /topic/delete?topic={topic} HTTP/1.0\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}
