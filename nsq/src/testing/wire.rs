//! One connection to a mock: bytes in, commands recorded; replies out.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::behavior::Behavior;
use super::client_command::ClientCommand;
use crate::command::MAGIC;

/// What a connection is told to put out.
#[derive(Debug)]
pub(super) enum Output {
    Bytes(Bytes),
    End,
}

/// Serves a client until either side ends the connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(stream: S, behavior: Arc<Behavior>) {
    let (reader, writer) = tokio::io::split(stream);
    let (connection, outputs) = behavior.connect();
    // An error is the client's going away, however it went.
    tokio::select! {
        _ = read(reader, connection, &behavior) => {}
        _ = write(writer, outputs) => {}
    }
    behavior.disconnected(connection);
}

async fn read(
    mut reader: impl AsyncRead + Unpin,
    connection: usize,
    behavior: &Arc<Behavior>,
) -> io::Result<()> {
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic).await?;
    if magic != MAGIC {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut buffer = BytesMut::new();
    while reader.read_buf(&mut buffer).await? > 0 {
        while let Some(command) = ClientCommand::take(&mut buffer) {
            behavior.take(connection, command);
        }
    }
    Ok(())
}

async fn write(
    mut writer: impl AsyncWrite + Unpin,
    mut outputs: mpsc::UnboundedReceiver<Output>,
) -> io::Result<()> {
    while let Some(output) = outputs.recv().await {
        match output {
            Output::Bytes(bytes) => writer.write_all(&bytes).await?,
            Output::End => break,
        }
    }
    writer.shutdown().await
}
