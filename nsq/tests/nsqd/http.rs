use std::time::Duration;

use async_nsq::{HttpConfig, HttpError, LookupdHttp, NsqdHttp, StatsQuery};
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, require_nsq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::support::*;

fn nsqd_http(nsqd: &Nsqd) -> NsqdHttp {
    NsqdHttp::new(&nsqd.http_address().to_string(), HttpConfig::default()).unwrap()
}

fn lookupd_http(lookupd: &NsqLookupd) -> LookupdHttp {
    LookupdHttp::new(&lookupd.http_address().to_string(), HttpConfig::default()).unwrap()
}

#[tokio::test]
async fn topics_and_channels_are_made_paused_emptied_and_deleted() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let http = nsqd_http(&nsqd);
    let (topic, channel) = (topic(), channel());
    let query = StatsQuery::default();

    http.ping().await.unwrap();
    assert!(
        http.create_channel(&topic, &channel)
            .await
            .unwrap_err()
            .is_not_found()
    );
    http.create_topic(&topic).await.unwrap();
    http.create_channel(&topic, &channel).await.unwrap();
    // Again: nothing changes.
    http.create_topic(&topic).await.unwrap();
    http.create_channel(&topic, &channel).await.unwrap();

    http.pause_channel(&topic, &channel).await.unwrap();
    http.pause_topic(&topic).await.unwrap();
    let stats = http.stats(&query).await.unwrap();
    assert!(stats.topic("images").unwrap().paused);
    assert!(stats.channel("images", "ch").unwrap().paused);
    assert_eq!(stats.health, "OK");
    http.unpause_channel(&topic, &channel).await.unwrap();
    http.unpause_topic(&topic).await.unwrap();

    let producer = producer(nsqd.tcp_address());
    producer.publish(&topic, "a").await.unwrap();
    eventually("the message is in the channel", || async {
        let stats = http.stats(&query).await.unwrap();
        stats.channel("images", "ch").unwrap().depth == 1
    })
    .await;
    http.empty_channel(&topic, &channel).await.unwrap();
    let stats = http.stats(&query).await.unwrap();
    let emptied = stats.channel("images", "ch").unwrap();
    assert_eq!((emptied.depth, emptied.message_count), (0, 1));
    assert!(!emptied.paused);
    assert_eq!(stats.topic("images").unwrap().message_bytes, 1);

    http.empty_topic(&topic).await.unwrap();
    http.delete_channel(&topic, &channel).await.unwrap();
    assert!(
        http.delete_channel(&topic, &channel)
            .await
            .unwrap_err()
            .is_not_found()
    );
    http.delete_topic(&topic).await.unwrap();
    let gone = http.delete_topic(&topic).await.unwrap_err();
    assert!(
        matches!(&gone, HttpError::Status { status: 404, reason } if reason == "TOPIC_NOT_FOUND"),
        "{gone:?}"
    );
    assert!(http.stats(&query).await.unwrap().topics.is_empty());
}

#[tokio::test]
async fn nsqd_tells_what_it_is_what_its_limits_are_and_who_is_connected() {
    require_nsq!();
    let flags = [
        "--max-msg-size=1000",
        "--max-body-size=2000",
        "--max-req-timeout=90s",
    ];
    let nsqd = Nsqd::start(NsqdOptions {
        flags: flags.map(str::to_owned).to_vec(),
        ..NsqdOptions::default()
    })
    .await;
    let http = nsqd_http(&nsqd);
    let info = http.info().await.unwrap();
    assert_eq!(info.tcp_port, nsqd.tcp_address().port());
    assert_eq!(info.broadcast_address, "127.0.0.1");

    let limits = http.limits().await.unwrap();
    assert_eq!((limits.max_message_size, limits.max_body_size), (1000, 2000));
    assert_eq!(limits.max_delay, Duration::from_secs(90));
    assert_eq!(http.setting::<u64>("mem_queue_size").await.unwrap(), 10_000);
    let unknown = http.setting::<u64>("no_such_thing").await.unwrap_err();
    assert!(
        matches!(unknown, HttpError::Status { status: 400, .. }),
        "{unknown:?}"
    );

    let producer = producer(nsqd.tcp_address());
    producer.publish(&topic(), "a").await.unwrap();
    let mut consumer = consumer(&nsqd);
    let message = next(&mut consumer).await;
    let mut query = StatsQuery::default();
    query.topic = Some(topic());
    query.channel = Some(channel());
    query.clients = true;
    let stats = http.stats(&query).await.unwrap();
    let found = stats.channel("images", "ch").unwrap();
    assert_eq!(found.in_flight, 1);
    assert_eq!(found.clients.len(), 1);
    assert!(found.clients[0].user_agent.starts_with("async-nsq/"));
    assert_eq!(stats.producers.len(), 1);
    query.clients = false;
    assert!(
        http.stats(&query)
            .await
            .unwrap()
            .channel("images", "ch")
            .unwrap()
            .clients
            .is_empty()
    );
    message.finish().unwrap();
}

#[tokio::test]
async fn nsqlookupd_tells_who_has_a_topic_and_forgets_on_demand() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let http = lookupd_http(&lookupd);
    let (topic, channel) = (topic(), channel());
    http.ping().await.unwrap();
    assert!(!http.version().await.unwrap().is_empty());
    assert_eq!(http.lookup(&topic).await.unwrap(), None);

    http.create_topic(&topic).await.unwrap();
    http.create_channel(&topic, &channel).await.unwrap();
    assert_eq!(http.topics().await.unwrap(), ["images"]);
    assert_eq!(http.channels(&topic).await.unwrap(), ["ch"]);
    let known = http.lookup(&topic).await.unwrap().unwrap();
    assert!(known.producers.is_empty());

    let nsqd = Nsqd::start(NsqdOptions {
        lookupd: vec![lookupd.tcp_address()],
        ..NsqdOptions::default()
    })
    .await;
    eventually("nsqd has registered", || async {
        http.nodes().await.unwrap().len() == 1
    })
    .await;
    // It asks for the channels of a new topic, and makes them before it takes the message.
    producer(nsqd.tcp_address()).publish(&topic, "a").await.unwrap();
    eventually("nsqd has told of its topic", || async {
        let found = http.lookup(&topic).await.unwrap().unwrap();
        found
            .producers
            .iter()
            .any(|node| node.tcp_address() == nsqd.tcp_address().to_string())
    })
    .await;
    assert_eq!(nsqd.channel("images", "ch").await.messages, 1);

    let nodes = http.nodes().await.unwrap();
    assert_eq!(nodes[0].topics, ["images"]);
    assert_eq!(nodes[0].http_address(), nsqd.http_address().to_string());
    http.tombstone(&topic, &nodes[0].http_address()).await.unwrap();
    assert!(http.lookup(&topic).await.unwrap().unwrap().producers.is_empty());
    assert_eq!(http.nodes().await.unwrap()[0].tombstones, [true]);

    http.delete_channel(&topic, &channel).await.unwrap();
    assert!(
        http.delete_channel(&topic, &channel)
            .await
            .unwrap_err()
            .is_not_found()
    );
    http.delete_topic(&topic).await.unwrap();
    assert!(http.topics().await.unwrap().is_empty());
}

/// A server that answers each request with these bytes, and gives back what it was asked.
async fn answering(answer: Vec<u8>) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut question = vec![0; 4096];
            let length = stream.read(&mut question).await.unwrap_or(0);
            let _ = asked.send(String::from_utf8_lossy(&question[..length]).into_owned());
            let _ = stream.write_all(&answer).await;
            if answer.is_empty() {
                // Never answers.
                let _ = stream.read(&mut question).await;
            }
        }
    });
    (address, questions)
}

#[tokio::test]
async fn a_bearer_token_is_sent_and_never_shown() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK".to_vec();
    let (address, mut questions) = answering(answer).await;
    let mut config = HttpConfig::default();
    config.bearer_token = Some("s3cret".to_owned());
    let http = NsqdHttp::new(&format!("http://{address}/behind/a/proxy/"), config).unwrap();
    http.ping().await.unwrap();
    let question = questions.recv().await.unwrap().to_ascii_lowercase();
    assert!(
        question.starts_with("get /behind/a/proxy/ping http/1.1\r\n"),
        "{question}"
    );
    assert!(
        question.contains("authorization: bearer s3cret\r\n"),
        "{question}"
    );
    assert!(question.contains(&format!("host: {address}\r\n")), "{question}");
    assert!(!format!("{http:?}").contains("s3cret"));
}

#[tokio::test]
async fn an_answer_is_taken_no_longer_than_the_limit() {
    let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    answer.extend(vec![b' '; 100_000]);
    let (address, _questions) = answering(answer).await;
    let mut config = HttpConfig::default();
    config.max_answer = 10_000;
    let http = LookupdHttp::new(&address, config).unwrap();
    let refused = http.nodes().await.unwrap_err();
    assert!(
        matches!(refused, HttpError::Incomplete { limit: 10_000 }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn answers_that_are_none_are_told_apart() {
    type Check = fn(&HttpError) -> bool;
    let bodies: [(&[u8], Check); 4] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", |error| {
            matches!(error, HttpError::Malformed)
        }),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
            |error| matches!(error, HttpError::Status { status: 502, reason } if reason == "oops"),
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", |error| {
            matches!(error, HttpError::Incomplete { .. })
        }),
        (b"\0\0\0\x0f\0\0\0\0_heartbeat_", |error| {
            matches!(error, HttpError::Unreachable(_))
        }),
    ];
    for (answer, expected) in bodies {
        let (address, _questions) = answering(answer.to_vec()).await;
        let http = NsqdHttp::new(&address, HttpConfig::default()).unwrap();
        let error = http.info().await.unwrap_err();
        assert!(expected(&error), "{error:?}");
    }
    let nobody = format!("127.0.0.1:{}", safelight_testkit::free_port());
    let http = NsqdHttp::new(&nobody, HttpConfig::default()).unwrap();
    assert!(matches!(http.ping().await, Err(HttpError::Unreachable(_))));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let (address, _questions) = answering(Vec::new()).await;
    let mut config = HttpConfig::default();
    config.timeout = Duration::from_millis(200);
    let http = NsqdHttp::new(&address, config).unwrap();
    let asked = Instant::now();
    assert!(matches!(http.ping().await, Err(HttpError::Timeout(_))));
    assert!(asked.elapsed() < LIMIT / 2, "{:?}", asked.elapsed());
}
