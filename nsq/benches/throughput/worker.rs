//! The process that is measured, with this crate as people use it: tasks that publish, a loop that consumes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nsq::{Channel, Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerState, Topic};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

use crate::trial::Work;

#[derive(Debug)]
struct Task {
    nsqd: String,
    topic: Topic,
    channel: Channel,
    count: usize,
    filling: Vec<u8>,
    batch: usize,
    in_flight: usize,
    work: Work,
}

struct Clock {
    begun: Instant,
    cpu: Duration,
}

/// The options are those of the Go program.
pub(crate) fn main(arguments: &[String]) {
    let task = Arc::new(Task::parse(arguments));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (seconds, cpu_seconds) = runtime.block_on(async {
        match task.work {
            Work::Publish => publish(task.clone()).await,
            Work::MultiPublish => publish_many(task.clone()).await,
            Work::Consume => consume(&task).await,
        }
    });
    println!(
        "measured {} {seconds:.6} {cpu_seconds:.6} {}",
        task.count,
        peak_memory_kib()
    );
}

// === impl Task ===

impl Task {
    fn parse(arguments: &[String]) -> Self {
        let option = |name: &str| {
            let prefix = format!("-{name}=");
            arguments
                .iter()
                .find_map(|argument| argument.strip_prefix(&prefix))
                .unwrap_or_else(|| panic!("no {prefix}"))
        };
        let number = |name: &str| option(name).parse::<usize>().unwrap();
        Self {
            nsqd: option("nsqd").to_owned(),
            topic: Topic::new(option("topic")).unwrap(),
            channel: Channel::new(option("channel")).unwrap(),
            count: number("count"),
            filling: vec![b' '; number("size").max(8)],
            batch: number("batch"),
            in_flight: number("in-flight"),
            work: arguments.last().and_then(|name| Work::parse(name)).unwrap(),
        }
    }

    /// The message with this number: seven digits, a space, and filling.
    fn body(&self, mut number: usize) -> Bytes {
        let mut body = self.filling.clone();
        for digit in body[..7].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
        body.into()
    }

    async fn producer(&self) -> Producer {
        let mut config = ProducerConfig::new(&self.nsqd);
        config.publish_timeout = Duration::from_secs(60);
        let producer = Producer::start(config).unwrap();
        let mut state = producer.watch_state();
        let connected = state.wait_for(|state| matches!(state, ProducerState::Connected));
        connected.await.unwrap();
        producer
    }
}

async fn publish(task: Arc<Task>) -> (f64, f64) {
    let producer = task.producer().await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let clock = Clock::start();
    for _ in 0..task.in_flight {
        let (task, producer, next) = (task.clone(), producer.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= task.count {
                    return;
                }
                producer.publish(&task.topic, task.body(number)).await.unwrap();
            }
        });
    }
    workers.join_all().await;
    clock.stop()
}

async fn publish_many(task: Arc<Task>) -> (f64, f64) {
    let producer = task.producer().await;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let clock = Clock::start();
    for _ in 0..task.in_flight.div_ceil(task.batch) {
        let (task, producer, next) = (task.clone(), producer.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let first = next.fetch_add(task.batch, Ordering::Relaxed);
                if first >= task.count {
                    return;
                }
                let bodies = (first..first + task.batch).map(|number| task.body(number));
                producer
                    .publish_many(&task.topic, bodies.collect())
                    .await
                    .unwrap();
            }
        });
    }
    workers.join_all().await;
    clock.stop()
}

async fn consume(task: &Task) -> (f64, f64) {
    let mut config = ConsumerConfig::new(task.topic.clone(), task.channel.clone());
    config.nsqd = vec![task.nsqd.clone()];
    config.max_in_flight = u32::try_from(task.in_flight).unwrap();
    let clock = Clock::start();
    let mut consumer = Consumer::start(config).unwrap();
    for _ in 0..task.count {
        consumer.next().await.unwrap().finish().unwrap();
    }
    let cost = clock.stop();
    consumer.close(Duration::from_secs(10)).await;
    cost
}

// === impl Clock ===

impl Clock {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// Seconds, and processor seconds of this process.
    fn stop(self) -> (f64, f64) {
        (
            self.begun.elapsed().as_secs_f64(),
            (cpu_time() - self.cpu).as_secs_f64(),
        )
    }
}

/// What all threads of this process have used, in user and kernel mode.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
