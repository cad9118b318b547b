//! A real nsqd through a stream that gives and takes a few bytes at a time and is often not ready, below
//! every layer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_nsq::{Channel, ConnectionConfig, Consumer, ConsumerConfig, Dialer};
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{LIMIT, topic};

/// Moves at most `most` bytes a call, and every third call none.
struct Choppy {
    inner: TcpStream,
    most: usize,
    calls: usize,
}

// === impl Choppy ===

impl Choppy {
    fn dialer(most: usize) -> Dialer {
        Dialer::new(move |address| async move {
            let inner = TcpStream::connect(address).await?;
            inner.set_nodelay(true)?;
            Ok(Choppy {
                inner,
                most,
                calls: 0,
            })
        })
    }

    fn is_ready(&mut self, cx: &mut Context<'_>) -> bool {
        self.calls += 1;
        let ready = !self.calls.is_multiple_of(3);
        if !ready {
            cx.waker().wake_by_ref();
        }
        ready
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        let mut some = vec![0; self.most.min(out.remaining())];
        let mut piece = ReadBuf::new(&mut some);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut piece);
        out.put_slice(piece.filled());
        read
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        let count = bytes.len().min(self.most);
        Pin::new(&mut self.inner).poll_write(cx, &bytes[..count])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_ready(cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// Publishes over such streams and consumes over them.
async fn assert_carried(nsqd: &Nsqd, config: &ConnectionConfig) {
    for most in [1, 7, 1000] {
        let topic = topic();
        let channel = Channel::new(format!("by-{most}")).unwrap();
        nsqd.create_channel(topic.as_str(), channel.as_str()).await;
        let mut config = config.clone();
        config.dialer = Some(Choppy::dialer(most));
        let mut producer_config = async_nsq::ProducerConfig::new(nsqd.tcp_address().to_string());
        producer_config.connection = config.clone();
        producer_config.publish_timeout = LIMIT;
        let producer = async_nsq::Producer::start(producer_config).unwrap();
        let bodies: Vec<String> = (0..50)
            .map(|number| format!("{number:>0$}", number * 20 + 2))
            .collect();
        let publishing = bodies.iter().map(|body| producer.publish(&topic, body.clone()));
        for published in join_all(publishing).await {
            published.unwrap();
        }
        let mut consumer_config = ConsumerConfig::new(topic.clone(), channel);
        consumer_config.connection = config;
        consumer_config.nsqd = vec![nsqd.tcp_address().to_string()];
        let mut consumer = Consumer::start(consumer_config).unwrap();
        let mut received = Vec::new();
        while received.len() < bodies.len() {
            let message = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
            received.push(String::from_utf8(message.body().to_vec()).unwrap());
            message.finish().unwrap();
        }
        received.sort();
        let mut bodies = bodies;
        bodies.sort();
        assert_eq!(received, bodies);
        consumer.close(LIMIT).await;
    }
}

#[tokio::test]
async fn a_stream_cut_anywhere_carries_everything_in_clear() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    assert_carried(&nsqd, &ConnectionConfig::default()).await;
}

#[cfg(feature = "snappy")]
#[tokio::test]
async fn a_stream_cut_anywhere_carries_everything_by_snappy() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let mut config = ConnectionConfig::default();
    config.compression = async_nsq::Compression::Snappy;
    assert_carried(&nsqd, &config).await;
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn a_stream_cut_anywhere_carries_everything_by_deflate() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let mut config = ConnectionConfig::default();
    config.compression = async_nsq::Compression::Deflate { level: 6 };
    assert_carried(&nsqd, &config).await;
}
