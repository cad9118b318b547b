//! A pipe that takes its time.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Carries bytes both ways, each as late, until both directions have ended.
pub(super) async fn relay(left: DuplexStream, right: DuplexStream, latency: Duration) {
    let (left_reader, left_writer) = tokio::io::split(left);
    let (right_reader, right_writer) = tokio::io::split(right);
    // An error is one side's going away; the other is told by the end of its stream.
    let _ = tokio::join!(
        carry(left_reader, right_writer, latency),
        carry(right_reader, left_writer, latency),
    );
}

async fn carry(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    latency: Duration,
) -> io::Result<()> {
    let (sender, mut under_way) = mpsc::unbounded_channel();
    let reading = async move {
        let mut buffer = BytesMut::new();
        while let Ok(1..) = reader.read_buf(&mut buffer).await {
            // The other half ends only with this one, or with its own peer.
            let _ = sender.send((Instant::now() + latency, buffer.split().freeze()));
        }
    };
    let writing = async {
        let mut end = Instant::now();
        while let Some((due, bytes)) = under_way.recv().await {
            sleep_until(due).await;
            writer.write_all(&bytes).await?;
            end = Instant::now();
        }
        sleep_until(end + latency).await;
        writer.shutdown().await
    };
    tokio::join!(reading, writing).1
}
