use std::net::SocketAddr;
use std::time::Duration;

use async_nsq::Consumer;
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, free_port, require_nsq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::support::*;

async fn nsqd_known_to(lookupds: &[&NsqLookupd]) -> Nsqd {
    let lookupd = lookupds.iter().map(|lookupd| lookupd.tcp_address()).collect();
    Nsqd::start(NsqdOptions {
        lookupd,
        ..NsqdOptions::default()
    })
    .await
}

fn consumer_of(lookupds: &[String]) -> Consumer {
    let mut config = consumer_config();
    config.lookupd = lookupds.to_vec();
    config.lookupd_interval = Duration::from_millis(300);
    config.lookupd_http.timeout = Duration::from_millis(500);
    Consumer::start(config).unwrap()
}

#[tokio::test]
async fn an_nsqd_that_appears_later_is_found_and_consumed_from() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let mut consumer = consumer_of(&[lookupd.http_address().to_string()]);

    let first = nsqd_known_to(&[&lookupd]).await;
    producer(first.tcp_address())
        .publish(&topic(), "from the first")
        .await
        .unwrap();
    let message = next(&mut consumer).await;
    assert_eq!(message.nsqd(), first.tcp_address().to_string());
    message.finish().unwrap();

    let second = nsqd_known_to(&[&lookupd]).await;
    producer(second.tcp_address())
        .publish(&topic(), "from the second")
        .await
        .unwrap();
    let message = next(&mut consumer).await;
    assert_eq!(message.nsqd(), second.tcp_address().to_string());
    message.finish().unwrap();
    until_consuming_from(&consumer, 2).await;
}

#[tokio::test]
async fn a_topic_of_the_first_moment_is_found_well_before_the_polling_interval() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let nsqd = nsqd_known_to(&[&lookupd]).await;
    let mut config = consumer_config();
    config.lookupd = vec![format!("http://{}", lookupd.http_address())];
    config.lookupd_interval = Duration::from_secs(3600);
    let mut consumer = Consumer::start(config).unwrap();
    let begun = Instant::now();
    producer(nsqd.tcp_address())
        .publish(&topic(), "soon")
        .await
        .unwrap();
    next(&mut consumer).await.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn lookupds_that_are_dead_or_silent_do_not_hide_what_another_knows() {
    require_nsq!();
    let mut silent = NsqLookupd::start().await;
    let good = NsqLookupd::start().await;
    let nsqd = nsqd_known_to(&[&good]).await;
    silent.freeze().await;
    let dead = format!("127.0.0.1:{}", free_port());
    let lookupds = [
        dead,
        silent.http_address().to_string(),
        good.http_address().to_string(),
    ];
    let mut consumer = consumer_of(&lookupds);
    producer(nsqd.tcp_address())
        .publish(&topic(), "found")
        .await
        .unwrap();
    next(&mut consumer).await.finish().unwrap();
    silent.thaw();
}

#[tokio::test]
async fn each_lookupd_adds_what_it_knows() {
    require_nsq!();
    let (one, other) = (NsqLookupd::start().await, NsqLookupd::start().await);
    let (left, right) = (nsqd_known_to(&[&one]).await, nsqd_known_to(&[&other]).await);
    producer(left.tcp_address())
        .publish(&topic(), "left0")
        .await
        .unwrap();
    producer(right.tcp_address())
        .publish(&topic(), "right0")
        .await
        .unwrap();
    let mut consumer = consumer_of(&[one.http_address().to_string(), other.http_address().to_string()]);
    let expected = bodies("left", 1).into_iter().chain(bodies("right", 1)).collect();
    finish_all(&mut consumer, expected).await;
    until_consuming_from(&consumer, 2).await;
}

#[tokio::test]
async fn connections_stay_when_all_lookupds_die_and_a_restarted_nsqd_is_found_again() {
    require_nsq!();
    let mut lookupd = NsqLookupd::start().await;
    let mut nsqd = nsqd_known_to(&[&lookupd]).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    producer.publish(&topic(), "before").await.unwrap();
    let mut consumer = consumer_of(&[lookupd.http_address().to_string()]);
    next(&mut consumer).await.finish().unwrap();

    lookupd.kill();
    producer.publish(&topic(), "without a lookupd").await.unwrap();
    next(&mut consumer).await.finish().unwrap();
    // The last that was known is believed, so the nsqd is connected to again too.
    nsqd.kill();
    until_consuming_from(&consumer, 0).await;
    nsqd.restart().await;
    producer.publish(&topic(), "after a restart").await.unwrap();
    next(&mut consumer).await.finish().unwrap();
}

#[tokio::test]
async fn an_nsqd_that_left_for_good_is_let_go() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let mut leaving = nsqd_known_to(&[&lookupd]).await;
    let staying = nsqd_known_to(&[&lookupd]).await;
    for nsqd in [&leaving, &staying] {
        nsqd.create_channel("images", "ch").await;
    }
    let consumer = consumer_of(&[lookupd.http_address().to_string()]);
    until_consuming_from(&consumer, 2).await;
    // It tells its lookupd that it goes.
    leaving.terminate().await;
    let mut state = consumer.control().watch_state();
    let forgotten = state.wait_for(|state| (state.known, state.connected) == (1, 1));
    tokio::time::timeout(LIMIT, forgotten)
        .await
        .expect("it is let go")
        .unwrap();
}

/// An nsqlookupd behind a door that opens to a token, and names one nsqd.
async fn guarded_lookupd(token: &'static str, nsqd: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let named = format!(
            r#"{{"producers":[{{"broadcast_address":"127.0.0.1","tcp_port":{}}}]}}"#,
            nsqd.port()
        );
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = if request.contains(&format!("authorization: Bearer {token}\r\n")) {
                ("200 OK", named.as_str())
            } else {
                ("401 Unauthorized", "{}")
            };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            // A consumer that has gone needs none.
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn nsqlookupds_behind_a_door_are_shown_the_token() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let lookupd = guarded_lookupd("s3cret", nsqd.tcp_address()).await;
    let mut config = consumer_config();
    config.lookupd = vec![lookupd.to_string()];
    config.lookupd_http.bearer_token = Some("s3cret".to_owned());
    let consumer = Consumer::start(config).unwrap();
    until_consuming_from(&consumer, 1).await;
}
