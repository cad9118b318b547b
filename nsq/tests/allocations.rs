//! What messages cost in memory: allocations, and what is held beside the messages themselves.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use async_nsq::{Channel, Consumer, ConsumerConfig, Producer, ProducerConfig, Topic};
use bytes::Bytes;
use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::sync::Mutex;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

/// Counts allocations, and the bytes that live.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged; the counts beside it touch no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the memory came from `alloc` above, so from the system.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counts are of the whole process, so these tests take turns.
static TURN: Mutex<()> = Mutex::const_new(());

fn topic() -> Topic {
    Topic::new("images").unwrap()
}

async fn started() -> (Nsqd, Producer) {
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let mut config = ProducerConfig::new(nsqd.tcp_address().to_string());
    config.publish_timeout = LIMIT;
    (nsqd, Producer::start(config).unwrap())
}

fn consumer(nsqd: &Nsqd, max_in_flight: u32) -> Consumer {
    let mut config = ConsumerConfig::new(topic(), Channel::new("ch").unwrap());
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    config.max_in_flight = max_in_flight;
    Consumer::start(config).unwrap()
}

async fn publish(producer: &Producer, count: usize, size: usize) {
    let body = Bytes::from(vec![b'x'; size]);
    let batch = (1 << 20) / size;
    let mut left = count;
    while left > 0 {
        let bodies = vec![body.clone(); batch.clamp(1, left)];
        left -= bodies.len();
        producer.publish_many(&topic(), bodies).await.unwrap();
    }
}

async fn finish(consumer: &mut Consumer, count: usize) {
    for _ in 0..count {
        let message = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        message.finish().unwrap();
    }
}

#[tokio::test]
async fn a_message_consumed_costs_no_allocation_of_its_own() {
    require_nsq!();
    let _turn = TURN.lock().await;
    let (nsqd, producer) = started().await;
    const COUNT: usize = 8_000;
    publish(&producer, COUNT + 2_000, 200).await;
    producer.close().await;
    let mut consumer = consumer(&nsqd, 1000);
    finish(&mut consumer, 2_000).await;
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    finish(&mut consumer, COUNT).await;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let each = allocations as f64 / COUNT as f64;
    println!("{each:.3} allocations a message consumed");
    assert!(each < 0.25, "{each:.3} allocations a message");
}

#[tokio::test]
async fn a_message_published_costs_one_allocation_and_one_of_a_batch_none() {
    require_nsq!();
    let _turn = TURN.lock().await;
    let (_nsqd, producer) = started().await;
    let body = Bytes::from(vec![b'x'; 200]);
    const COUNT: usize = 4_000;
    publish(&producer, 1_000, 200).await;

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let topic = topic();
    for _ in 0..COUNT {
        producer.publish(&topic, body.clone()).await.unwrap();
    }
    let each = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / COUNT as f64;
    println!("{each:.3} allocations a message published");
    assert!(each < 1.25, "{each:.3} allocations a message");

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..COUNT / 100 {
        let bodies = vec![body.clone(); 100];
        producer.publish_many(&topic, bodies).await.unwrap();
    }
    let each = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / COUNT as f64;
    println!("{each:.3} allocations a message of a batch");
    assert!(each < 0.15, "{each:.3} allocations a message");
}

#[tokio::test]
async fn a_thousand_messages_in_flight_take_little_more_than_their_bodies() {
    require_nsq!();
    let _turn = TURN.lock().await;
    for size in [200, 5_000, 50_000] {
        let (nsqd, producer) = started().await;
        publish(&producer, 1_000, size).await;
        producer.close().await;
        drop(producer);
        let before = LIVE.load(Ordering::Relaxed);
        let mut consumer = consumer(&nsqd, 1000);
        let mut held = Vec::with_capacity(1000);
        while held.len() < 1000 {
            held.push(timeout(LIMIT, consumer.next()).await.unwrap().unwrap());
        }
        let live = LIVE.load(Ordering::Relaxed) - before;
        let bodies: usize = held.iter().map(|message| message.body().len()).sum();
        let beside = live - bodies as isize;
        println!("1000 messages of {size} bytes in flight: {beside} bytes beside them");
        assert!(beside < 8 << 20, "{beside} bytes beside messages of {size}");
    }
}

/// One slow message must not keep alive all that came with it.
#[tokio::test]
async fn a_thousand_stragglers_pin_little_of_what_arrived_with_them() {
    require_nsq!();
    let _turn = TURN.lock().await;
    let (nsqd, producer) = started().await;
    // Fewer than nsqd keeps in memory at a time, and as many as fill its delivery batches.
    publish(&producer, 9_000, 200).await;
    publish(&producer, 9_000, 200).await;
    let before = LIVE.load(Ordering::Relaxed);
    let mut consumer = consumer(&nsqd, 1000);
    let mut held = Vec::with_capacity(600);
    for number in 0..18_000 {
        let message = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        if number % 30 == 0 {
            held.push(message);
        } else {
            message.finish().unwrap();
        }
    }
    let live = LIVE.load(Ordering::Relaxed) - before;
    println!("{} stragglers hold {live} bytes", held.len());
    assert!(live < 4 << 20, "{live} bytes");
}
