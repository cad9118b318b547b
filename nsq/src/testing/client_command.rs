//! What a client sent, read as nsqd reads it.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::time::Instant;

use crate::consumer::MessageId;

/// A command as it arrived. Shown as it stood on the wire, bodies left out: `RDY 5`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCommand {
    /// `IDENTIFY`, with its JSON.
    Identify(Bytes),
    /// `AUTH`, with its secret.
    Auth(Bytes),
    /// `SUB`.
    Subscribe {
        /// Whose messages.
        topic: String,
        /// As which channel.
        channel: String,
    },
    /// `PUB`.
    Publish {
        /// To which topic.
        topic: String,
        /// The message.
        body: Bytes,
    },
    /// `MPUB`.
    PublishMany {
        /// To which topic.
        topic: String,
        /// The messages.
        bodies: Vec<Bytes>,
    },
    /// `DPUB`.
    PublishDeferred {
        /// To which topic.
        topic: String,
        /// When to deliver.
        delay: Duration,
        /// The message.
        body: Bytes,
    },
    /// `RDY`.
    Ready(u32),
    /// `FIN`.
    Finish(MessageId),
    /// `REQ`.
    Requeue {
        /// Which message.
        id: MessageId,
        /// When to deliver it again.
        delay: Duration,
    },
    /// `TOUCH`.
    Touch(MessageId),
    /// `CLS`.
    Close,
    /// `NOP`, which answers a heartbeat.
    Nop,
    /// A line that is none of these.
    Other(String),
}

/// The kind of a [`ClientCommand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verb {
    /// `IDENTIFY`.
    Identify,
    /// `AUTH`.
    Auth,
    /// `SUB`.
    Subscribe,
    /// `PUB`.
    Publish,
    /// `MPUB`.
    PublishMany,
    /// `DPUB`.
    PublishDeferred,
    /// `RDY`.
    Ready,
    /// `FIN`.
    Finish,
    /// `REQ`.
    Requeue,
    /// `TOUCH`.
    Touch,
    /// `CLS`.
    Close,
    /// `NOP`.
    Nop,
    /// Anything else.
    Other,
}

/// A command with its circumstances. Shown as its command is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recorded {
    /// On which connection, counted from 0 in the order of connecting.
    pub connection: usize,
    /// When it arrived, by tokio's clock.
    pub at: Instant,
    /// What arrived.
    pub command: ClientCommand,
}

// === impl ClientCommand ===

impl ClientCommand {
    /// Its kind.
    pub fn verb(&self) -> Verb {
        match self {
            ClientCommand::Identify(_) => Verb::Identify,
            ClientCommand::Auth(_) => Verb::Auth,
            ClientCommand::Subscribe { .. } => Verb::Subscribe,
            ClientCommand::Publish { .. } => Verb::Publish,
            ClientCommand::PublishMany { .. } => Verb::PublishMany,
            ClientCommand::PublishDeferred { .. } => Verb::PublishDeferred,
            ClientCommand::Ready(_) => Verb::Ready,
            ClientCommand::Finish(_) => Verb::Finish,
            ClientCommand::Requeue { .. } => Verb::Requeue,
            ClientCommand::Touch(_) => Verb::Touch,
            ClientCommand::Close => Verb::Close,
            ClientCommand::Nop => Verb::Nop,
            ClientCommand::Other(_) => Verb::Other,
        }
    }

    /// Takes the first command off the buffer, or `None` while it is not all there.
    pub(super) fn take(buffer: &mut BytesMut) -> Option<Self> {
        let end = buffer.iter().position(|&byte| byte == b'\n')?;
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let body = match words[0] {
            "IDENTIFY" | "AUTH" | "PUB" | "MPUB" | "DPUB" => Some(sized(&buffer[end + 1..])?),
            _ => None,
        };
        buffer.advance(end + 1 + body.as_ref().map_or(0, |body| 4 + body.len()));
        Some(Self::of(&words, body.unwrap_or_default()).unwrap_or(Self::Other(line)))
    }

    fn of(words: &[&str], body: Bytes) -> Option<Self> {
        Some(match *words {
            ["IDENTIFY"] => Self::Identify(body),
            ["AUTH"] => Self::Auth(body),
            ["SUB", topic, channel] => Self::Subscribe {
                topic: topic.to_owned(),
                channel: channel.to_owned(),
            },
            ["PUB", topic] => Self::Publish {
                topic: topic.to_owned(),
                body,
            },
            ["MPUB", topic] => Self::PublishMany {
                topic: topic.to_owned(),
                bodies: batch(&body)?,
            },
            ["DPUB", topic, delay] => Self::PublishDeferred {
                topic: topic.to_owned(),
                delay: millis(delay)?,
                body,
            },
            ["RDY", count] => Self::Ready(count.parse().ok()?),
            // nsqd takes it as one.
            ["RDY"] => Self::Ready(1),
            ["FIN", id] => Self::Finish(message_id(id)?),
            ["REQ", id, delay] => Self::Requeue {
                id: message_id(id)?,
                delay: millis(delay)?,
            },
            ["TOUCH", id] => Self::Touch(message_id(id)?),
            ["CLS"] => Self::Close,
            ["NOP"] => Self::Nop,
            _ => return None,
        })
    }
}

impl fmt::Display for ClientCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientCommand::Identify(_) => f.write_str("IDENTIFY"),
            ClientCommand::Auth(_) => f.write_str("AUTH"),
            ClientCommand::Subscribe { topic, channel } => write!(f, "SUB {topic} {channel}"),
            ClientCommand::Publish { topic, .. } => write!(f, "PUB {topic}"),
            ClientCommand::PublishMany { topic, .. } => write!(f, "MPUB {topic}"),
            ClientCommand::PublishDeferred { topic, delay, .. } => {
                write!(f, "DPUB {topic} {}", delay.as_millis())
            }
            ClientCommand::Ready(count) => write!(f, "RDY {count}"),
            ClientCommand::Finish(id) => write!(f, "FIN {id}"),
            ClientCommand::Requeue { id, delay } => write!(f, "REQ {id} {}", delay.as_millis()),
            ClientCommand::Touch(id) => write!(f, "TOUCH {id}"),
            ClientCommand::Close => f.write_str("CLS"),
            ClientCommand::Nop => f.write_str("NOP"),
            ClientCommand::Other(line) => f.write_str(line),
        }
    }
}

// === impl Recorded ===

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

/// The bytes behind their length, once all are there.
fn sized(mut bytes: &[u8]) -> Option<Bytes> {
    let len = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    bytes.get(..len).map(Bytes::copy_from_slice)
}

fn batch(body: &[u8]) -> Option<Vec<Bytes>> {
    let mut rest = body;
    let count = rest.try_get_i32().ok()?;
    (0..count)
        .map(|_| {
            let message = sized(rest)?;
            rest.advance(4 + message.len());
            Some(message)
        })
        .collect()
}

fn message_id(word: &str) -> Option<MessageId> {
    word.as_bytes().try_into().ok().map(MessageId::from_bytes)
}

/// nsqd reads a negative delay as none.
fn millis(word: &str) -> Option<Duration> {
    let millis: i64 = word.parse().ok()?;
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use crate::command::Command;
    use crate::name::{Channel, Topic};
    use crate::write_queue::WriteQueue;

    #[test]
    fn what_the_client_writes_is_read_back_whole_however_it_is_cut() {
        let topic = Topic::new("t").expect("a legal name");
        let channel = Channel::new("c").expect("a legal name");
        let id = MessageId::from_bytes(*b"0123456789abcdef");
        let delay = Duration::from_millis(1500);
        let sent = [
            Command::Identify("{}".into()),
            Command::Subscribe {
                topic: topic.clone(),
                channel,
            },
            Command::Publish {
                topic: topic.clone(),
                body: "line\nbreak".into(),
            },
            Command::PublishMany {
                topic: topic.clone(),
                bodies: vec!["a".into(), "bc".into()],
            },
            Command::PublishDeferred {
                topic,
                body: "a".into(),
                delay,
            },
            Command::Ready(7),
            Command::Finish(id),
            Command::Requeue { id, delay },
            Command::Touch(id),
            Command::Close,
            Command::Nop,
        ];
        let mut bytes = WriteQueue::default();
        sent.into_iter().for_each(|command| command.encode(&mut bytes));
        let len = bytes.remaining();
        let bytes = bytes.copy_to_bytes(len);

        let mut buffer = BytesMut::new();
        let mut read = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            read.extend(ClientCommand::take(&mut buffer));
        }
        let shown: Vec<String> = read.iter().map(ClientCommand::to_string).collect();
        let expected = [
            "IDENTIFY",
            "SUB t c",
            "PUB t",
            "MPUB t",
            "DPUB t 1500",
            "RDY 7",
            "FIN 0123456789abcdef",
            "REQ 0123456789abcdef 1500",
            "TOUCH 0123456789abcdef",
            "CLS",
            "NOP",
        ];
        assert_eq!(shown, expected);
        let body = Bytes::from("line\nbreak");
        assert!(matches!(&read[2], ClientCommand::Publish { body: read, .. } if *read == body));
        let bodies = [Bytes::from("a"), Bytes::from("bc")];
        assert!(matches!(&read[3], ClientCommand::PublishMany { bodies: read, .. } if *read == bodies));
        assert!(buffer.is_empty());
    }

    #[test]
    fn blank_lines_and_nonsense_are_kept_as_they_are() {
        let mut buffer = BytesMut::from("\nBREW tea\nRDY many\n".as_bytes());
        let taken: Vec<_> = std::iter::from_fn(|| ClientCommand::take(&mut buffer)).collect();
        let other = |line: &str| ClientCommand::Other(line.to_owned());
        assert_eq!(taken, [other(""), other("BREW tea"), other("RDY many")]);
    }
}
