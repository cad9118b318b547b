//! Which layer goes on top of which, and what becomes of one that was compiled out.

use bytes::BytesMut;

use super::Transport;
use crate::error::{ConnectionError, TlsError};
use crate::identify::{Compressed, ConnectionConfig};

/// Puts TLS around a connection to `address` whose nsqd has agreed to it.
pub(crate) async fn encrypt(
    inner: Box<dyn Transport>,
    address: &str,
    config: &ConnectionConfig,
) -> Result<Box<dyn Transport>, ConnectionError> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &config.tls {
        return tls.connect(inner, address).await;
    }
    // Only an nsqd that grants what was not asked for comes here.
    let _ = (inner, address, config);
    Err(ConnectionError::Protocol("TLS was granted, but not asked for"))
}

/// Puts compression around a connection whose nsqd has agreed to it. `first` has been read from `inner`
/// already, and is the beginning of the compressed stream: nsqd compresses from its last answer on.
pub(crate) fn compress(
    inner: Box<dyn Transport>,
    compression: Compressed,
    first: BytesMut,
    config: &ConnectionConfig,
) -> Result<Box<dyn Transport>, ConnectionError> {
    match (compression, config.compression) {
        #[cfg(feature = "snappy")]
        (Compressed::Snappy, crate::Compression::Snappy) => Ok(Box::new(super::compressed::Stream::new(
            inner,
            super::snappy::Snappy::new(),
            first,
        ))),
        #[cfg(feature = "deflate")]
        (Compressed::Deflate { level: granted }, crate::Compression::Deflate { level }) => {
            let deflate = super::deflate::Deflate::new(level.min(granted.max(1)));
            Ok(Box::new(super::compressed::Stream::new(inner, deflate, first)))
        }
        _ => {
            let _ = (inner, first);
            Err(ConnectionError::Protocol(
                "a compression was granted that was not asked for",
            ))
        }
    }
}

/// Fails unless TLS was granted wherever it was asked for.
pub(crate) fn require_tls(config: &ConnectionConfig, granted: bool) -> Result<(), TlsError> {
    #[cfg(feature = "tls")]
    if config.tls.is_some() && !granted {
        return Err(TlsError::NotOffered);
    }
    let _ = (config, granted);
    Ok(())
}
