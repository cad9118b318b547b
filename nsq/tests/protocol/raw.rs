//! A client that sends anything, to see what nsqd makes of it.

use std::net::SocketAddr;

use async_nsq::{ErrorCode, Frame, FrameDecoder, RawMessage, ServerError};
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::LIMIT;

pub(crate) struct RawClient {
    stream: TcpStream,
    decoder: FrameDecoder,
    inbound: BytesMut,
}

// === impl RawClient ===

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"  V2").await.unwrap();
        Self {
            stream,
            decoder: FrameDecoder::new(16 * 1024 * 1024),
            inbound: BytesMut::new(),
        }
    }

    /// Connects and says what it is; gives the answer.
    pub(crate) async fn introduced(address: SocketAddr, extra: Value) -> (Self, Value) {
        let mut client = Self::connect(address).await;
        client.identify(extra).await;
        match client.frame().await {
            Some(Frame::Response(answer)) => (client, serde_json::from_slice(&answer).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    /// Connects and subscribes, with a RDY of this.
    pub(crate) async fn subscribed(address: SocketAddr, ready: u32) -> Self {
        let (mut client, _) = Self::introduced(address, json!({})).await;
        client.send("SUB images ch\n").await;
        client.expect_ok().await;
        client.send(&format!("RDY {ready}\n")).await;
        client
    }

    pub(crate) async fn identify(&mut self, extra: Value) {
        let mut body = json!({"client_id": "raw", "hostname": "raw", "feature_negotiation": true});
        for (key, value) in extra.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.send_sized("IDENTIFY\n", body.to_string().as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, command: &str) {
        self.stream.write_all(command.as_bytes()).await.unwrap();
    }

    pub(crate) async fn send_sized(&mut self, command: &str, body: &[u8]) {
        self.send_announced(command, body.len() as i32, body).await;
    }

    /// A body with a length that need not be its own.
    pub(crate) async fn send_announced(&mut self, command: &str, len: i32, body: &[u8]) {
        let mut bytes = command.as_bytes().to_vec();
        bytes.extend(len.to_be_bytes());
        bytes.extend(body);
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn send_batch(&mut self, command: &str, bodies: &[&[u8]]) {
        let mut batch = (bodies.len() as i32).to_be_bytes().to_vec();
        for body in bodies {
            batch.extend((body.len() as i32).to_be_bytes());
            batch.extend(*body);
        }
        self.send_sized(command, &batch).await;
    }

    /// The next frame, heartbeats included; `None` where nsqd has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.inbound).unwrap() {
                return Some(frame);
            }
            let read = timeout(LIMIT, self.stream.read_buf(&mut self.inbound)).await;
            // Closed with something unread, it is reset instead.
            if read.expect("a frame comes in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn expect_ok(&mut self) {
        let frame = self.frame().await;
        assert_eq!(frame, Some(Frame::Response("OK".into())));
    }

    pub(crate) async fn expect_message(&mut self) -> RawMessage {
        match self.frame().await {
            Some(Frame::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    /// An error that nsqd goes on after.
    pub(crate) async fn expect_error(&mut self, code: ErrorCode) -> ServerError {
        match self.frame().await {
            Some(Frame::Error(error)) if error.code == code => error,
            other => panic!("{code:?} expected: {other:?}"),
        }
    }

    /// An error that nsqd closes the connection over.
    pub(crate) async fn expect_fatal(&mut self, code: ErrorCode) -> ServerError {
        assert!(code.is_fatal(), "{code:?}");
        let error = self.expect_error(code).await;
        self.expect_closed().await;
        error
    }

    pub(crate) async fn expect_closed(&mut self) {
        assert_eq!(self.frame().await, None, "closed, and nothing more said");
    }
}
