//! A server in memory that plays a part, and ways to start a client on it.

use std::time::Duration;

use async_nsq::{
    ConnectionConfig, ConnectionError, Consumer, ConsumerConfig, Dialer, Producer, ProducerConfig, Topic,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;

/// Everything here ends long before, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// More than anything here says in one go.
pub(crate) const PIPE: usize = 64 * 1024;

/// One step of a part.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Waits until this has come.
    Await(&'static str),
    /// Says this.
    Say(Vec<u8>),
    /// Says this so often.
    Repeat(Vec<u8>, usize),
    /// Hangs up.
    HangUp,
}

/// A configuration that reaches, at each connect, a new server that plays this part and then listens in
/// silence.
pub(crate) fn playing(acts: Vec<Act>) -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.dialer = Some(Dialer::new(move |_| {
        let (ours, servers) = duplex(PIPE);
        tokio::spawn(play(servers, acts.clone()));
        std::future::ready(Ok(ours))
    }));
    config
}

/// A configuration whose connections come out of the receiver, one for each connect.
pub(crate) fn accepted(pipe: usize) -> (ConnectionConfig, mpsc::UnboundedReceiver<DuplexStream>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut config = ConnectionConfig::default();
    config.dialer = Some(Dialer::new(move |_| {
        let (ours, servers) = duplex(pipe);
        let sent = sender.send(servers);
        std::future::ready(sent.map(|()| ours).map_err(std::io::Error::other))
    }));
    (config, receiver)
}

/// Plays this part, and then listens in silence unless it has hung up.
pub(crate) async fn play(mut stream: DuplexStream, acts: Vec<Act>) {
    let mut heard = BytesMut::new();
    for act in acts {
        match act {
            Act::Await(word) => {
                while !heard.windows(word.len()).any(|window| window == word.as_bytes()) {
                    if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                heard.clear();
            }
            // Who does not listen any more has hung up first.
            Act::Say(bytes) => drop(stream.write_all(&bytes).await),
            Act::Repeat(bytes, times) => {
                for _ in 0..times {
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
            Act::HangUp => return,
        }
    }
    while stream.read_buf(&mut heard).await.unwrap_or(0) > 0 {
        heard.clear();
    }
}

pub(crate) fn topic() -> Topic {
    Topic::new("t").unwrap()
}

pub(crate) fn producer(connection: ConnectionConfig) -> Producer {
    let mut config = ProducerConfig::new("nsqd.test:4150".to_owned());
    config.connection = connection;
    config.publish_timeout = LIMIT;
    Producer::start(config).unwrap()
}

pub(crate) fn consumer(connection: ConnectionConfig) -> Consumer {
    let mut config = ConsumerConfig::new(topic(), "ch".parse().unwrap());
    config.nsqd = vec!["nsqd.test:4150".to_owned()];
    config.connection = connection;
    Consumer::start(config).unwrap()
}

/// How a client tells that it was hung up on.
pub(crate) fn is_hung_up(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::Closed | ConnectionError::Io(_))
}

pub(crate) fn frame(frame_type: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as i32 + 4).to_be_bytes().to_vec();
    bytes.extend(frame_type.to_be_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn ok() -> Vec<u8> {
    frame(0, b"OK")
}

pub(crate) fn heartbeat() -> Vec<u8> {
    frame(0, b"_heartbeat_")
}

pub(crate) fn refusal(text: &str) -> Vec<u8> {
    frame(1, text.as_bytes())
}

pub(crate) fn granting(json: &str) -> Vec<u8> {
    frame(0, json.as_bytes())
}
