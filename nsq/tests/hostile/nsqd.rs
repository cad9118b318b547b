//! An nsqd in memory that behaves, and keeps every byte that it heard.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::server::*;
use crate::transcript::{Sent, commands, whole_commands};

/// A message as it is delivered.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    id: String,
    attempts: u16,
    body: &'static str,
}

/// One connection, as this side saw it.
#[derive(Debug)]
pub(crate) struct Served {
    heard: Vec<u8>,
    /// Messages that were delivered and not answered.
    pub(crate) unanswered: usize,
}

/// What is left to do on a connection.
struct Serving {
    waiting: Vec<Delivery>,
    in_flight: Vec<Delivery>,
    /// The last RDY was not zero.
    flows: bool,
}

// === impl Delivery ===

impl Delivery {
    /// The first of a message; its number becomes its id.
    pub(crate) fn new(number: u64, body: &'static str) -> Self {
        Self {
            id: format!("{number:016x}"),
            attempts: 1,
            body,
        }
    }

    /// The next of the same message.
    pub(crate) fn again(self) -> Self {
        Self {
            attempts: self.attempts + 1,
            ..self
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut data = 1_700_000_000_000_000_000_i64.to_be_bytes().to_vec();
        data.extend(self.attempts.to_be_bytes());
        data.extend(self.id.as_bytes());
        data.extend(self.body.as_bytes());
        frame(2, &data)
    }
}

// === impl Served ===

impl Served {
    /// What was said; panics where it does not end with a whole command.
    pub(crate) fn commands(&self) -> Vec<Sent> {
        commands(&self.heard)
    }

    /// How often this word was said of a message, or at all where it takes none.
    pub(crate) fn count(&self, word: &str, message: Option<&Delivery>) -> usize {
        let said = |sent: &Sent| {
            let mut words = sent.line.split(' ');
            words.next() == Some(word) && message.is_none_or(|message| words.next() == Some(&message.id))
        };
        self.commands().iter().filter(|sent| said(sent)).count()
    }
}

// === impl Serving ===

impl Serving {
    /// Does what nsqd would, and tells what it says to that.
    fn obey(&mut self, command: &str) -> Vec<u8> {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["RDY", count] => self.flows = count != "0",
            ["CLS"] => {
                self.flows = false;
                return frame(0, b"CLOSE_WAIT");
            }
            ["NOP"] => {}
            [word @ ("FIN" | "REQ" | "TOUCH"), id, ..] => {
                let held = self.in_flight.iter().position(|held| held.id == id);
                let Some(held) = held else {
                    return refusal(&format!("E_{word}_FAILED {word} {id} failed ID not in flight"));
                };
                if word != "TOUCH" {
                    let answered = self.in_flight.remove(held);
                    self.waiting
                        .extend((word == "REQ").then_some(answered).map(Delivery::again));
                }
            }
            _ => return ok(),
        }
        Vec::new()
    }

    /// Delivers all that waits, if anything may be.
    fn deliver(&mut self) -> Vec<u8> {
        if !self.flows {
            return Vec::new();
        }
        let frames = self.waiting.iter().flat_map(Delivery::frame).collect();
        self.in_flight.append(&mut self.waiting);
        frames
    }
}

/// Serves one connection to its end, with these messages in its channel.
pub(crate) async fn serve(mut stream: DuplexStream, messages: Vec<Delivery>) -> Served {
    let mut serving = Serving {
        waiting: messages,
        in_flight: Vec::new(),
        flows: false,
    };
    let (mut heard, mut obeyed) = (Vec::new(), 0);
    while stream.read_buf(&mut heard).await.unwrap() > 0 {
        let (commands, _) = whole_commands(&heard);
        for command in &commands[obeyed..] {
            let said = [serving.obey(&command.line), serving.deliver()].concat();
            // Who does not listen any more has hung up, and that is heard next.
            let _ = stream.write_all(&said).await;
        }
        obeyed = commands.len();
    }
    Served {
        heard,
        unanswered: serving.in_flight.len(),
    }
}
