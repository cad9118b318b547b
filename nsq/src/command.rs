//! What we send: commands, written as nsqd reads them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::consumer::MessageId;
use crate::identify::AuthSecret;
use crate::name::{Channel, Topic};
use crate::write_queue::WriteQueue;

/// The first bytes on every connection: protocol version 2.
pub(crate) const MAGIC: &[u8] = b"  V2";

/// What an MPUB's body holds beside the messages: their count, and a length before each.
pub(crate) const fn batch_len(messages: usize, bytes: usize) -> usize {
    4 + 4 * messages + bytes
}

/// One command. Sizes have been checked by those who make it.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Identify(Bytes),
    Auth(AuthSecret),
    Publish {
        topic: Topic,
        body: Bytes,
    },
    PublishMany {
        topic: Topic,
        bodies: Vec<Bytes>,
    },
    PublishDeferred {
        topic: Topic,
        body: Bytes,
        delay: Duration,
    },
    /// Written out before, by [`Command::encode_batch`].
    Encoded(Arc<[Bytes]>),
    Subscribe {
        topic: Topic,
        channel: Channel,
    },
    Ready(u32),
    Finish(MessageId),
    Requeue {
        id: MessageId,
        delay: Duration,
    },
    Touch(MessageId),
    Close,
    Nop,
}

// === impl Command ===

impl Command {
    pub(crate) fn encode(self, out: &mut WriteQueue) {
        match self {
            Command::Identify(body) => {
                out.put_slice(b"IDENTIFY\n");
                put_sized(out, body);
            }
            Command::Auth(secret) => {
                out.put_slice(b"AUTH\n");
                put_sized(out, secret.expose());
            }
            Command::Publish { topic, body } => {
                put_line(out, &[b"PUB", topic.as_str().as_bytes()]);
                put_sized(out, body);
            }
            Command::PublishMany { topic, bodies } => Self::encode_batch(&topic, &bodies, out),
            Command::Encoded(pieces) => pieces.iter().for_each(|piece| out.put_bytes(piece.clone())),
            Command::PublishDeferred { topic, body, delay } => {
                put_line(
                    out,
                    &[b"DPUB", topic.as_str().as_bytes(), millis(delay).as_bytes()],
                );
                put_sized(out, body);
            }
            Command::Subscribe { topic, channel } => {
                put_line(
                    out,
                    &[b"SUB", topic.as_str().as_bytes(), channel.as_str().as_bytes()],
                );
            }
            Command::Ready(count) => put_line(out, &[b"RDY", count.to_string().as_bytes()]),
            Command::Finish(id) => put_line(out, &[b"FIN", id.as_bytes()]),
            Command::Requeue { id, delay } => {
                put_line(out, &[b"REQ", id.as_bytes(), millis(delay).as_bytes()]);
            }
            Command::Touch(id) => put_line(out, &[b"TOUCH", id.as_bytes()]),
            Command::Close => out.put_slice(b"CLS\n"),
            Command::Nop => out.put_slice(b"NOP\n"),
        }
    }

    /// An MPUB.
    pub(crate) fn encode_batch(topic: &Topic, bodies: &[Bytes], out: &mut WriteQueue) {
        let bytes = bodies.iter().map(Bytes::len).sum();
        put_line(out, &[b"MPUB", topic.as_str().as_bytes()]);
        put_len(out, batch_len(bodies.len(), bytes));
        put_len(out, bodies.len());
        for body in bodies {
            put_sized(out, body.clone());
        }
    }
}

fn put_line(out: &mut WriteQueue, words: &[&[u8]]) {
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            out.put_slice(b" ");
        }
        out.put_slice(word);
    }
    out.put_slice(b"\n");
}

fn put_sized(out: &mut WriteQueue, body: Bytes) {
    put_len(out, body.len());
    out.put_bytes(body);
}

fn put_len(out: &mut WriteQueue, len: usize) {
    let len = i32::try_from(len);
    debug_assert!(len.is_ok(), "sizes are checked before a command is made");
    out.put_i32(len.unwrap_or(i32::MAX));
}

/// nsqd would take a number that overflows it for none; it shortens to its own limit what is long.
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60 * 24 * 365);

fn millis(delay: Duration) -> String {
    delay.min(LONGEST_DELAY).as_millis().to_string()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use bytes::Buf;

    fn encoded(command: Command) -> Vec<u8> {
        let mut out = WriteQueue::default();
        command.encode(&mut out);
        let len = out.remaining();
        out.copy_to_bytes(len).to_vec()
    }

    fn topic() -> Topic {
        Topic::new("t").expect("a legal name")
    }

    #[test]
    fn commands_are_written_as_nsqd_reads_them() {
        let id = MessageId::from_bytes(*b"0123456789abcdef");
        let channel = Channel::new("c").expect("a legal name");
        let delay = Duration::from_millis(1500);
        let cases: [(Command, &[u8]); 12] = [
            (Command::Identify("{}".into()), b"IDENTIFY\n\0\0\0\x02{}"),
            (
                Command::Auth(AuthSecret::new("s3cret")),
                b"AUTH\n\0\0\0\x06s3cret",
            ),
            (
                Command::Publish {
                    topic: topic(),
                    body: "abc".into(),
                },
                b"PUB t\n\0\0\0\x03abc",
            ),
            (
                Command::PublishMany {
                    topic: topic(),
                    bodies: vec!["a".into(), "bc".into()],
                },
                b"MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x01a\0\0\0\x02bc",
            ),
            (
                Command::PublishDeferred {
                    topic: topic(),
                    body: "a".into(),
                    delay,
                },
                b"DPUB t 1500\n\0\0\0\x01a",
            ),
            (
                Command::Subscribe {
                    topic: topic(),
                    channel,
                },
                b"SUB t c\n",
            ),
            (Command::Ready(7), b"RDY 7\n"),
            (Command::Finish(id), b"FIN 0123456789abcdef\n"),
            (Command::Requeue { id, delay }, b"REQ 0123456789abcdef 1500\n"),
            (Command::Touch(id), b"TOUCH 0123456789abcdef\n"),
            (Command::Close, b"CLS\n"),
            (Command::Nop, b"NOP\n"),
        ];
        for (command, expected) in cases {
            assert_eq!(encoded(command), expected);
        }
    }
}
