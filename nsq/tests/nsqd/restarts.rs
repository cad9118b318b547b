//! A hundred thousand messages, published while nsqd is restarted again and again.
//!
//! A gateway between the producer and nsqd counts the acknowledgements that pass, so that what the producer
//! says can be held against what it was told.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nsq::{Consumer, Frame, FrameDecoder, Producer, PublishError};
use bytes::BytesMut;
use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::support::*;

const MESSAGES: usize = 100_000;
const RESTARTS: usize = 5;
const LANES: usize = 200;
/// For one of these tests, and far more than it takes.
const LONG: Duration = Duration::from_secs(240);

/// Hands everything on, and counts the OKs to the producer.
struct Gateway {
    address: SocketAddr,
    oks: Arc<AtomicU64>,
}

/// What became of the messages, by their numbers.
#[derive(Default)]
struct Outcomes {
    acknowledged: HashSet<usize>,
    unknown: HashSet<usize>,
    not_sent: HashSet<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stop {
    Orderly,
    Hard,
}

// === impl Gateway ===

impl Gateway {
    async fn start(nsqd: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let oks = Arc::new(AtomicU64::new(0));
        let counted = oks.clone();
        tokio::spawn(async move {
            while let Ok((producer, _)) = listener.accept().await {
                let Ok(nsqd) = TcpStream::connect(nsqd).await else {
                    continue;
                };
                let (from_producer, to_producer) = producer.into_split();
                let (from_nsqd, to_nsqd) = nsqd.into_split();
                tokio::spawn(hand_on(from_producer, to_nsqd));
                tokio::spawn(hand_on_counting(from_nsqd, to_producer, counted.clone()));
            }
        });
        Self { address, oks }
    }
}

/// Reads to the end even when the other side takes no more: closed with bytes unread, the connection would
/// be reset, and take acknowledgements with it that are still on their way.
async fn hand_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let _ = to.write_all(&buffer[..count]).await;
    }
}

async fn hand_on_counting(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, oks: Arc<AtomicU64>) {
    let decoder = FrameDecoder::new(1 << 20);
    let mut unread = BytesMut::new();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        unread.extend_from_slice(&buffer[..count]);
        while let Some(frame) = decoder.decode(&mut unread).unwrap() {
            if frame == Frame::Response("OK".into()) {
                oks.fetch_add(1, Ordering::SeqCst);
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // An orderly end: all that was read comes before it.
    let _ = to.shutdown().await;
}

/// Publishes all messages from many tasks at once, each once.
fn publish_all(producer: &Producer, messages: usize) -> Vec<JoinHandle<Outcomes>> {
    let next = Arc::new(AtomicUsize::new(0));
    let lane = |_| {
        let (producer, next) = (producer.clone(), next.clone());
        tokio::spawn(async move {
            let mut outcomes = Outcomes::default();
            let topic = topic();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= messages {
                    return outcomes;
                }
                let kind = match producer.publish(&topic, number.to_string()).await {
                    Ok(()) => &mut outcomes.acknowledged,
                    Err(PublishError::Unknown(_)) => &mut outcomes.unknown,
                    Err(PublishError::NotSent(_)) => &mut outcomes.not_sent,
                    Err(other) => panic!("{other:?}"),
                };
                kind.insert(number);
            }
        })
    };
    (0..LANES).map(lane).collect()
}

/// Takes and finishes messages until told that no more will come and none is left.
async fn consume_all(mut consumer: Consumer, last: Arc<AtomicBool>, nsqd: SocketAddr) -> HashSet<usize> {
    let mut seen = HashSet::new();
    loop {
        match timeout(Duration::from_millis(200), consumer.next()).await {
            Ok(message) => {
                let message = message.unwrap();
                let number = std::str::from_utf8(message.body()).unwrap().parse().unwrap();
                // A connection lost meanwhile only means that the message comes again.
                let _ = message.finish();
                seen.insert(number);
            }
            Err(_) if !last.load(Ordering::SeqCst) => {}
            Err(_) => {
                let http = async_nsq::NsqdHttp::new(&nsqd.to_string(), Default::default()).unwrap();
                let stats = http.stats(&Default::default()).await.unwrap();
                let topic = stats.topic("images").unwrap();
                let left =
                    |channel: &async_nsq::ChannelStats| channel.depth + channel.in_flight + channel.deferred;
                if topic.depth + topic.channels.iter().map(left).sum::<u64>() == 0 {
                    return seen;
                }
            }
        }
    }
}

struct Result {
    outcomes: Outcomes,
    consumed: HashSet<usize>,
    oks: u64,
}

async fn publish_through_restarts(
    flags: &[&str],
    stop: Stop,
    messages: usize,
    set_up: impl FnOnce(Producer) -> Producer,
) -> Result {
    let mut nsqd = Nsqd::start(NsqdOptions {
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        ..NsqdOptions::default()
    })
    .await;
    nsqd.create_channel("images", "ch").await;
    let gateway = Gateway::start(nsqd.tcp_address()).await;
    let producer = set_up(producer(gateway.address).with_timeout(LONG));
    let mut config = consumer_config();
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    config.max_in_flight = 200;
    let last = Arc::new(AtomicBool::new(false));
    let consumer = Consumer::start(config).unwrap();
    let consuming = tokio::spawn(consume_all(consumer, last.clone(), nsqd.http_address()));

    let lanes = publish_all(&producer, messages);
    let give_up = Instant::now() + LONG;
    for round in 1..=RESTARTS {
        let mark = (round * messages / (RESTARTS + 1)) as u64;
        while producer.stats().acknowledged < mark {
            assert!(Instant::now() < give_up, "{:?}", producer.stats());
            sleep(Duration::from_millis(1)).await;
        }
        match stop {
            Stop::Orderly => nsqd.terminate().await,
            Stop::Hard => nsqd.kill(),
        }
        nsqd.restart().await;
    }
    let mut outcomes = Outcomes::default();
    for lane in lanes {
        let lane = timeout(LONG, lane).await.unwrap().unwrap();
        outcomes.acknowledged.extend(lane.acknowledged);
        outcomes.unknown.extend(lane.unknown);
        outcomes.not_sent.extend(lane.not_sent);
    }
    last.store(true, Ordering::SeqCst);
    let consumed = timeout(LONG, consuming).await.unwrap().unwrap();
    Result {
        outcomes,
        consumed,
        oks: gateway.oks.load(Ordering::SeqCst),
    }
}

fn check_what_the_producer_said(result: &Result) {
    let Outcomes {
        acknowledged,
        unknown,
        not_sent,
    } = &result.outcomes;
    assert_eq!(acknowledged.len() + unknown.len() + not_sent.len(), MESSAGES);
    // Neither more successes than acknowledgements, nor fewer.
    assert_eq!(acknowledged.len() as u64, result.oks);
    assert!(
        not_sent.is_disjoint(&result.consumed),
        "said to be not sent, and consumed"
    );
    assert!(unknown.len() <= RESTARTS * LANES, "{} unknown", unknown.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_consumed_though_nsqd_is_stopped_and_started_five_times() {
    require_nsq!();
    // What was in flight at a stop must not take a minute to come again.
    let result = publish_through_restarts(&["--msg-timeout=2s"], Stop::Orderly, MESSAGES, |producer| {
        producer
    })
    .await;
    check_what_the_producer_said(&result);
    let lost = result.outcomes.acknowledged.difference(&result.consumed).count();
    assert_eq!(lost, 0, "acknowledged, and never consumed");
}

/// nsqd acknowledges before anything is safe from its own death, whatever `--mem-queue-size` says: what is in
/// flight or between a topic and its channel is in its memory alone. What it loses is counted here, and is
/// not for a client to prevent.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_producer_says_is_what_nsqd_said_though_nsqd_is_killed_five_times() {
    require_nsq!();
    let flags = ["--mem-queue-size=0", "--msg-timeout=2s"];
    let result = publish_through_restarts(&flags, Stop::Hard, MESSAGES, |producer| producer).await;
    check_what_the_producer_said(&result);
    let lost = result.outcomes.acknowledged.difference(&result.consumed).count();
    println!(
        "{RESTARTS} times killed: {} acknowledged, {} unknown, {lost} acknowledged and lost by nsqd",
        result.outcomes.acknowledged.len(),
        result.outcomes.unknown.len(),
    );
    assert!(lost < MESSAGES / 2, "{lost} lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_repeating_is_asked_for_all_are_acknowledged_though_nsqd_is_killed_five_times() {
    require_nsq!();
    const FEWER: usize = MESSAGES / 5;
    let flags = ["--mem-queue-size=0", "--msg-timeout=2s"];
    let result =
        publish_through_restarts(&flags, Stop::Hard, FEWER, |producer| producer.repeating_unknown()).await;
    assert_eq!(result.outcomes.acknowledged.len(), FEWER);
    assert_eq!(result.oks, FEWER as u64, "each is acknowledged once");
}

/// What a channel held at a stop, and how much of it came after.
#[derive(Debug, PartialEq)]
struct Kept {
    waiting: (usize, usize),
    in_flight: (usize, usize),
    deferred: (usize, usize),
}

async fn kept_by_a_stop(stop: Stop) -> Kept {
    // With each message on its disk as soon as it is taken, and its place there as soon as it is delivered.
    let flags = ["--mem-queue-size=0", "--sync-every=1"];
    let mut nsqd = nsqd_with(&flags).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let mut config = consumer_config();
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    config.max_in_flight = 50;
    let mut holding = Consumer::start(config).unwrap();
    let flying = bodies("flying ", 50);
    let batch = flying.iter().cloned().map(Into::into).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(next(&mut holding).await);
    }
    let batch = bodies("waiting ", 50).into_iter().map(Into::into).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    let hour = Duration::from_secs(3600);
    for body in bodies("deferred ", 50) {
        producer.publish_deferred(&topic(), body, hour).await.unwrap();
    }
    let give_up = Instant::now() + LIMIT;
    let channel = loop {
        let channel = nsqd.channel("images", "ch").await;
        assert!(Instant::now() < give_up, "{channel:?}");
        if channel.depth + channel.deferred == 100 {
            break channel;
        }
    };
    assert_eq!(channel.in_flight, 50);
    match stop {
        Stop::Orderly => nsqd.terminate().await,
        Stop::Hard => nsqd.kill(),
    }
    drop((holding, held));
    nsqd.restart().await;
    let mut consumer = consumer(&nsqd);
    let mut came = HashSet::new();
    while let Ok(message) = timeout(Duration::from_millis(500), consumer.next()).await {
        let message = message.unwrap();
        came.insert(String::from_utf8(message.body().to_vec()).unwrap());
        message.finish().unwrap();
    }
    let came_of = |kind: &str| came.iter().filter(|body| body.starts_with(kind)).count();
    let (waiting, deferred) = (channel.depth as usize, channel.deferred as usize);
    // Without a memory queue nsqd may put a deferred message on its disk, where it forgets the delay: that one waits.
    let not_deferred = 50 - deferred;
    Kept {
        waiting: (
            waiting,
            came_of("waiting") + not_deferred.min(came_of("deferred")),
        ),
        in_flight: (50, came_of("flying")),
        deferred: (deferred, came_of("deferred").saturating_sub(not_deferred)),
    }
}

#[tokio::test]
async fn an_orderly_stop_keeps_what_waits_what_is_in_flight_and_what_is_deferred() {
    require_nsq!();
    let kept = kept_by_a_stop(Stop::Orderly).await;
    let all = |(held, came): (usize, usize)| held == came;
    assert!(
        all(kept.waiting) && all(kept.in_flight) && all(kept.deferred),
        "{kept:?}"
    );
}

/// So much nsqd loses though its disk has everything: what it has handed out, and what it keeps for later.
#[tokio::test]
async fn a_kill_keeps_what_waits_on_the_disk_and_loses_what_is_in_flight_or_deferred() {
    require_nsq!();
    let kept = kept_by_a_stop(Stop::Hard).await;
    println!("killed: {kept:?}, each held and kept");
    assert_eq!(kept.waiting.0, kept.waiting.1);
    assert_eq!((kept.in_flight.1, kept.deferred.1), (0, 0));
}
