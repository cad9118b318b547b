//! A connection fed with anything: what the fuzz target and the property tests share.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Connection, READ_CHUNK};
use crate::command::Command;
use crate::identify::ConnectionConfig;

const MAX_FRAME: usize = 64 * 1024;
/// More steps than any input of a sensible length needs.
const MAX_STEPS: usize = 100_000;

/// A peer whose every move is read from its script: how much it says at a time, how much it takes, when it
/// is not ready, and when it breaks. At the end of the script it hangs up.
struct UnrulyPeer {
    script: Bytes,
}

// === impl UnrulyPeer ===

impl UnrulyPeer {
    fn next_move(&mut self) -> Option<u8> {
        self.script.try_get_u8().ok()
    }
}

impl AsyncRead for UnrulyPeer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.next_move() {
            None => Poll::Ready(Ok(())),
            Some(0) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(255) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Some(len) => {
                let len = usize::from(len).min(self.script.len()).min(out.remaining());
                out.put_slice(&self.script.split_to(len));
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for UnrulyPeer {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.next_move() {
            None => Poll::Ready(Ok(bytes.len())),
            Some(0) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(255) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Some(len) => Poll::Ready(Ok(bytes.len().min(usize::from(len)))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lives through one connection to a peer with this script; its first byte says what is negotiated.
///
/// # Panics
/// The connection does not end with the script, holds more than it may, or counts more as written than
/// was queued.
pub(crate) fn live_through(script: &[u8]) {
    let Some((&layers, script)) = script.split_first() else {
        return;
    };
    let config = ConnectionConfig {
        max_frame_size: MAX_FRAME,
        handshake_timeout: Duration::from_secs(1),
        auth_secret: Some("secret".into()),
        #[cfg(feature = "snappy")]
        compression: if layers & 1 == 1 {
            crate::Compression::Snappy
        } else {
            crate::Compression::None
        },
        ..ConnectionConfig::default()
    };
    let _ = layers;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let peer = UnrulyPeer {
            script: Bytes::copy_from_slice(script),
        };
        let mut connection = Connection::over(Box::new(peer), &config);
        if connection.introduce("nsqd.test:4150", &config).await.is_err() {
            return;
        }
        for _ in 0..MAX_STEPS {
            loop {
                match connection.next_frame() {
                    Ok(Some(_)) if connection.has_room() => connection.send(Command::Ready(1)),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            assert!(connection.inbound.capacity() <= 2 * (MAX_FRAME + READ_CHUNK));
            assert!(connection.written() <= connection.queued());
            if connection.drive().await.is_err() {
                return;
            }
        }
        panic!("the script has ended, and the connection has not");
    });
}
