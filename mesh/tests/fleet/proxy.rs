//! What lies between a client and a server, and can be told to misbehave.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Open,
    /// Connections are closed at once.
    Refusing,
    /// Connections are taken and nothing comes through, in either direction.
    Frozen,
    /// Every connection is closed after so long, whatever is on it.
    Cutting(Duration),
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    pub(crate) way: watch::Sender<Way>,
    accepting: AbortHandle,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = watch::channel(Way::Open).0;
        let ways = way.clone();
        let accepting = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(carry(client, server, ways.subscribe()));
            }
        })
        .abort_handle();
        Self {
            address,
            way,
            accepting,
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, mut ways: watch::Receiver<Way>) {
    if *ways.borrow_and_update() == Way::Refusing {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pump(from_client, to_server, ways.clone());
    let back = pump(from_server, to_client, ways.clone());
    let cut = async {
        loop {
            let way = *ways.borrow_and_update();
            match way {
                Way::Refusing => return,
                Way::Cutting(time) => {
                    tokio::time::sleep(time).await;
                    return;
                }
                Way::Open | Way::Frozen => {}
            }
            if ways.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = cut => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut ways: watch::Receiver<Way>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        if ways.wait_for(|way| *way != Way::Frozen).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if ways.wait_for(|way| *way != Way::Frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
