//! From a socket to a connection that takes commands: IDENTIFY, the layers it grants, and AUTH.
//!
//! nsqd's order (`nsqd/protocol_v2.go`, `IDENTIFY`): it answers, puts TLS on and says `OK` within it, puts
//! the compression on and says `OK` within that. It reads ahead, so nothing may be sent before the last
//! `OK` has come.

use bytes::Bytes;
use tokio::io::empty;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Connection, Heartbeats};
use crate::command::{Command, MAGIC};
use crate::error::ConnectionError;
use crate::identify::{Authorization, Compression, ConnectionConfig, Negotiated};
use crate::transport::{Transport, compress, dial, encrypt, require_tls};

// === impl Connection ===

impl Connection {
    /// Connects to `address` (`host:port`, or `unix:/path`) and introduces us.
    pub(crate) async fn open(
        address: &str,
        config: &ConnectionConfig,
    ) -> Result<(Self, Negotiated), ConnectionError> {
        let handshake = async {
            let transport = match &config.dialer {
                Some(dialer) => dialer.dial(address).await?,
                None => dial(address).await?,
            };
            let mut connection = Self::over(transport, config);
            let negotiated = connection.introduce(address, config).await?;
            debug!(nsqd = address, ?negotiated, "connected");
            Ok((connection, negotiated))
        };
        match timeout(config.handshake_timeout, handshake).await {
            Ok(done) => done,
            Err(_) => Err(ConnectionError::HandshakeTimeout {
                address: address.to_owned(),
                after: config.handshake_timeout,
            }),
        }
    }

    /// Everything between connecting and the first command.
    pub(super) async fn introduce(
        &mut self,
        address: &str,
        config: &ConnectionConfig,
    ) -> Result<Negotiated, ConnectionError> {
        self.heartbeats = Heartbeats::Deferred { heard: false };
        self.outbound.put_slice(MAGIC);
        self.queued += MAGIC.len() as u64;
        self.send(Command::Identify(config.identify_body()));
        let mut negotiated = Negotiated::parse(&self.response().await?)?;
        require_tls(config, negotiated.tls)?;
        if negotiated.tls {
            self.put_tls_on(address, config).await?;
        }
        if let Some(compression) = negotiated.compression {
            let first = self.inbound.split();
            self.put_on(|inner| compress(inner, compression, first, config))?;
            self.expect_ok().await?;
        } else if config.compression != Compression::None {
            warn!(
                nsqd = address,
                "nsqd does not offer the compression asked for; going on without"
            );
        }
        negotiated.authorization = self.authorize(config, negotiated.auth_required).await?;
        self.resume_heartbeats();
        Ok(negotiated)
    }

    async fn put_tls_on(&mut self, address: &str, config: &ConnectionConfig) -> Result<(), ConnectionError> {
        // In TLS it is the client who speaks first. What came in clear behind the answer is from
        // somebody who wants it to be taken for what nsqd says in private.
        if !self.inbound.is_empty() {
            return Err(ConnectionError::Protocol("data in clear where TLS begins"));
        }
        let inner = std::mem::replace(&mut self.transport, Box::new(empty()));
        self.transport = encrypt(inner, address, config).await?;
        self.layered = true;
        self.expect_ok().await
    }

    fn put_on(
        &mut self,
        layer: impl FnOnce(Box<dyn Transport>) -> Result<Box<dyn Transport>, ConnectionError>,
    ) -> Result<(), ConnectionError> {
        let inner = std::mem::replace(&mut self.transport, Box::new(empty()));
        self.transport = layer(inner)?;
        self.layered = true;
        Ok(())
    }

    async fn expect_ok(&mut self) -> Result<(), ConnectionError> {
        if self.response().await? == "OK" {
            return Ok(());
        }
        Err(ConnectionError::Protocol("a new layer does not begin with OK"))
    }

    /// Proves who we are, where nsqd wants to know. Any other nsqd is not told the secret: it would refuse
    /// us over it.
    async fn authorize(
        &mut self,
        config: &ConnectionConfig,
        required: bool,
    ) -> Result<Option<Authorization>, ConnectionError> {
        if !required {
            return Ok(None);
        }
        let secret = config.auth_secret.clone();
        let secret = secret.ok_or(ConnectionError::AuthSecretMissing)?;
        self.send(Command::Auth(secret));
        let answer: Bytes = self.response().await?;
        Authorization::parse(&answer).map(Some)
    }

    fn resume_heartbeats(&mut self) {
        let before = std::mem::replace(&mut self.heartbeats, Heartbeats::Answered);
        if before == (Heartbeats::Deferred { heard: true }) {
            self.send(Command::Nop);
        }
    }
}

// === impl ConnectionConfig ===

impl ConnectionConfig {
    /// Connects to the nsqd at `address` (`host:port`, or `unix:/path`), negotiates everything that is
    /// configured here, hangs up, and tells what was granted: to check a configuration, or to look at
    /// an nsqd.
    ///
    /// # Errors
    /// [`ConnectionError`]: the same that a [`Producer`](crate::Producer) with this configuration would
    /// meet. It is not [validated](Self::validate) before.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn probe(&self, address: &str) -> Result<Negotiated, ConnectionError> {
        let (_, negotiated) = Connection::open(address, self).await?;
        Ok(negotiated)
    }
}
