//! A DNS server of a test's own on loopback, over UDP and TCP. It answers A and AAAA questions (RFC 1035, RFC 3596)
//! from what it was told, and counts what it was asked.
#![allow(dead_code)] // each test uses its part

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Ends with its last use.
pub(crate) struct DnsServer {
    address: SocketAddr,
    zone: Arc<Zone>,
    tasks: [AbortHandle; 2],
}

struct Zone {
    records: Mutex<HashMap<String, Vec<IpAddr>>>,
    /// Names whose questions get `SERVFAIL`.
    broken: Mutex<HashSet<String>>,
    /// Whether it answers at all.
    silent: Mutex<bool>,
    /// Every question so far: the name and `A` or `AAAA`.
    asked: watch::Sender<Vec<(String, &'static str)>>,
}

struct Question {
    name: String,
    family: u16,
    /// Where the question ends in the message.
    end: usize,
    /// The longest datagram that the asker takes.
    room: usize,
}

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const OPT: u16 = 41;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;
/// Long enough for whoever heeds it to fail the test.
const TIME_TO_LIVE: u32 = 3600;

// === impl DnsServer ===

impl DnsServer {
    pub(crate) async fn start() -> Self {
        let (udp, tcp) = bind().await;
        let address = udp.local_addr().unwrap();
        let zone = Arc::new(Zone {
            records: Mutex::default(),
            broken: Mutex::default(),
            silent: Mutex::default(),
            asked: watch::Sender::default(),
        });
        let tasks = [
            tokio::spawn(serve_udp(udp, zone.clone())).abort_handle(),
            tokio::spawn(serve_tcp(tcp, zone.clone())).abort_handle(),
        ];
        Self { address, zone, tasks }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a name stands for from now on; with no addresses it exists and has none.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.zone
            .records
            .lock()
            .unwrap()
            .insert(name.to_lowercase(), addresses);
    }

    /// From now on the name does not exist, as names that were never set.
    pub(crate) fn remove(&self, name: &str) {
        self.zone.records.lock().unwrap().remove(&name.to_lowercase());
    }

    /// Whether questions for the name get `SERVFAIL`.
    pub(crate) fn set_broken(&self, name: &str, is_broken: bool) {
        let mut broken = self.zone.broken.lock().unwrap();
        match is_broken {
            true => broken.insert(name.to_lowercase()),
            false => broken.remove(&name.to_lowercase()),
        };
    }

    /// Whether questions get no answer at all.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        *self.zone.silent.lock().unwrap() = is_silent;
    }

    /// Every question so far, with `A` or `AAAA`.
    pub(crate) fn asked(&self) -> watch::Receiver<Vec<(String, &'static str)>> {
        self.zone.asked.subscribe()
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The same port for both.
async fn bind() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some((answer, _)) = zone.answer(&buffer[..length], true) {
            let _gone = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_stream(stream, zone.clone()));
        }
    }
}

/// Ends when the asker hangs up.
async fn serve_stream(mut stream: TcpStream, zone: Arc<Zone>) -> io::Result<()> {
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        if let Some((answer, length)) = zone.answer(&message, false) {
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }
}

// === impl Zone ===

impl Zone {
    /// The answer and its length, unless there is to be none.
    fn answer(&self, message: &[u8], is_datagram: bool) -> Option<(Vec<u8>, u16)> {
        let question = Question::read(message)?;
        let family = match question.family {
            A => "A",
            AAAA => "AAAA",
            _ => "other",
        };
        self.asked
            .send_modify(|asked| asked.push((question.name.clone(), family)));
        if *self.silent.lock().unwrap() {
            return None;
        }
        let is_broken = self.broken.lock().unwrap().contains(&question.name);
        let records = self.records.lock().unwrap().get(&question.name).cloned();
        let (code, addresses) = match records {
            _ if is_broken => (SERVFAIL, Vec::new()),
            None => (NXDOMAIN, Vec::new()),
            Some(addresses) => (0, addresses),
        };
        let mut answer = question.answer(message, code, &addresses);
        if is_datagram && answer.len() > question.room {
            const TRUNCATED: u8 = 0b10;
            answer = question.answer(message, code, &[]);
            answer[2] |= TRUNCATED;
        }
        let length = u16::try_from(answer.len()).unwrap();
        Some((answer, length))
    }
}

// === impl Question ===

impl Question {
    fn read(message: &[u8]) -> Option<Self> {
        let mut labels = Vec::new();
        let mut at = HEADER;
        loop {
            let length = usize::from(*message.get(at)?);
            at += 1;
            if length == 0 {
                break;
            }
            labels.push(
                std::str::from_utf8(message.get(at..at + length)?)
                    .ok()?
                    .to_lowercase(),
            );
            at += length;
        }
        let end = at + 4;
        let family = u16_at(message, at)?;
        // The first record after the question says how much the asker takes, if it is OPT (RFC 6891, section 6.1.2).
        let room = match u16_at(message, end + 1) {
            Some(OPT) => usize::from(u16_at(message, end + 3)?),
            _ => 512,
        };
        Some(Self {
            name: labels.join("."),
            family,
            end,
            room,
        })
    }

    fn answer(&self, message: &[u8], code: u8, addresses: &[IpAddr]) -> Vec<u8> {
        const RESPONSE: u8 = 0x80;
        const RECURSION_AVAILABLE: u8 = 0x80;
        let mut records = Vec::new();
        let mut count: u16 = 0;
        for address in addresses {
            let (family, octets) = match address {
                IpAddr::V4(address) => (A, address.octets().to_vec()),
                IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
            };
            if family != self.family {
                continue;
            }
            // The name is the question's, by reference.
            records.extend([0xc0, HEADER as u8]);
            records.extend(family.to_be_bytes());
            records.extend([0, 1]);
            records.extend(TIME_TO_LIVE.to_be_bytes());
            records.extend((octets.len() as u16).to_be_bytes());
            records.extend(octets);
            count += 1;
        }
        let mut answer = message[..self.end].to_vec();
        answer[2] |= RESPONSE;
        answer[3] = RECURSION_AVAILABLE | code;
        answer[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        answer[6..8].copy_from_slice(&count.to_be_bytes());
        answer.extend(records);
        answer
    }
}

fn u16_at(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}
