//! What the queue does over nsqd's HTTP side.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_queue::{CHANNEL, NsqConfig, Queue, TOPIC_IMAGES, encode_id};
use safelight_testkit::{Nsqd, NsqdOptions, free_port, require_nsq};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(20);

fn config(nsqd: &Nsqd, http: String) -> NsqConfig {
    NsqConfig {
        producer: Some(nsqd.tcp_address().to_string()),
        producer_http: Some(http),
        ..NsqConfig::default()
    }
}

#[tokio::test]
async fn the_channel_is_there_before_the_first_message_and_the_state_is_measured() {
    require_nsq!();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::set_global_recorder(recorder).unwrap();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let queue = Queue::nsq(config(&nsqd, nsqd.http_address().to_string())).unwrap();
    queue
        .publish(TOPIC_IMAGES, &[encode_id(1), encode_id(2)])
        .await
        .unwrap();
    let stats = nsqd.channel(TOPIC_IMAGES, CHANNEL).await;
    assert_eq!((stats.messages, stats.depth), (2, 2));

    let mut subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, 1).unwrap();
    let delivery = subscription.next().await.unwrap();
    let give_up = Instant::now() + LIMIT;
    let seen = async |lines: &[&str]| {
        while !lines.iter().all(|line| metrics.render().contains(line)) {
            assert!(Instant::now() < give_up, "{}", metrics.render());
            sleep(Duration::from_millis(50)).await;
        }
    };
    seen(&[
        "safelight_queue_lag_messages{topic=\"images\",channel=\"ch\"} 1",
        "safelight_queue_in_flight_messages{topic=\"images\",channel=\"ch\"} 1",
        "safelight_queue_nsqd_known{topic=\"images\"} 1",
        "safelight_queue_nsqd_connected{topic=\"images\"} 1",
        "safelight_queue_unanswered_messages{topic=\"images\"} 1",
        "safelight_queue_producer_connected 1",
    ])
    .await;
    subscription.control().pause();
    seen(&["safelight_queue_paused{topic=\"images\"} 1"]).await;
    subscription.control().resume();
    seen(&["safelight_queue_paused{topic=\"images\"} 0"]).await;
    delivery.finish().await.unwrap();
    nsqd.kill();
    seen(&[
        "safelight_queue_nsqd_connected{topic=\"images\"} 0",
        "safelight_queue_producer_connected 0",
        "safelight_queue_lag_messages{topic=\"images\",channel=\"ch\"} NaN",
        "safelight_queue_in_flight_messages{topic=\"images\",channel=\"ch\"} NaN",
    ])
    .await;
}

#[tokio::test]
async fn an_http_side_that_is_away_keeps_nobody_from_publishing() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let queue = Queue::nsq(config(&nsqd, format!("127.0.0.1:{}", free_port()))).unwrap();
    for id in 1..=3 {
        queue.publish(TOPIC_IMAGES, &[encode_id(id)]).await.unwrap();
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused() {
    let config = NsqConfig {
        producer: Some("127.0.0.1:4150".to_owned()),
        producer_http: Some("ftp://127.0.0.1".to_owned()),
        ..NsqConfig::default()
    };
    assert!(Queue::nsq(config).is_err());
}
