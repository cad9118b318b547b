//! A TCP proxy whose connections can be broken in the ways that networks break them.

// A test can do nothing with an error of its proxy but end.
#![allow(clippy::expect_used)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::server_process::free_port;

/// Stands between a client and a server on 127.0.0.1. Ends when dropped, with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Nothing passes, and nobody is told.
    BlackHole,
    /// The server hears the client, and the client hears nothing.
    Mute,
    /// Connections are closed, and new ones refused.
    Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

// === impl Proxy ===

impl Proxy {
    /// Listens on a free port, and connects to `upstream` for each connection it takes.
    ///
    /// # Panics
    /// The port cannot be listened on.
    pub async fn start(upstream: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let listener = listen(address).expect("a free port can be listened on");
        let (weather, receiver) = watch::channel(Weather::Fine);
        let accepted = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(run(listener, address, upstream, receiver, accepted.clone())).abort_handle();
        Self {
            address,
            weather,
            accepted,
            task,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it ever took.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }

    /// From now on nothing passes in either direction, over connections that stay open; new ones are
    /// taken and treated alike. What was held back passes after [`Proxy::heal`].
    pub fn black_hole(&self) {
        self.weather.send_replace(Weather::BlackHole);
    }

    /// From now on the server hears the client, and the client hears nothing.
    pub fn mute(&self) {
        self.weather.send_replace(Weather::Mute);
    }

    /// Closes all connections, and refuses new ones until [`Proxy::heal`].
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.weather.send_replace(Weather::Fine);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.weather.send_replace(Weather::Cut);
        self.task.abort();
    }
}

/// Listening again on the same port right after it was closed takes `SO_REUSEADDR`.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    accepted: Arc<AtomicUsize>,
) {
    let mut listener = Some(listener);
    loop {
        // An error of the channel means that the proxy was dropped.
        if *weather.borrow_and_update() == Weather::Cut {
            drop(listener.take());
            if weather
                .wait_for(|weather| *weather != Weather::Cut)
                .await
                .is_err()
            {
                return;
            }
        }
        if listener.is_none() {
            listener = Some(listen(address).expect("the port is still free"));
        }
        let Some(open) = &listener else { return };
        tokio::select! {
            taken = open.accept() => {
                let Ok((client, _)) = taken else { continue };
                accepted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(carry(client, upstream, weather.clone()));
            }
            changed = weather.changed() => if changed.is_err() { return },
        }
    }
}

/// Carries one connection until either side closes it, or it is cut.
async fn carry(client: TcpStream, upstream: SocketAddr, mut weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    let both_ways = async {
        let may_connect = |weather: &Weather| matches!(weather, Weather::Fine | Weather::Mute);
        if weather.wait_for(may_connect).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(upstream).await else {
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // Where one side ends, the other is told, and may still finish what it has to say.
        tokio::join!(
            pump(from_client, to_server, weather.clone(), Direction::ToServer),
            pump(from_server, to_client, weather.clone(), Direction::ToClient),
        );
    };
    tokio::select! {
        () = both_ways => {}
        _ = cut.wait_for(|weather| *weather == Weather::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    direction: Direction,
) {
    let passes = |weather: &Weather| match weather {
        Weather::Fine => true,
        Weather::Mute => direction == Direction::ToServer,
        Weather::BlackHole | Weather::Cut => false,
    };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if weather.wait_for(passes).await.is_err() || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    // The end of the stream is news too, and waits like any other.
    if weather.wait_for(passes).await.is_ok() {
        let _ = to.shutdown().await;
    }
}
