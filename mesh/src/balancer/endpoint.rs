//! One endpoint of a target.

use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Load;
use super::supervisor::Supervisor;
use crate::breaker::Circuit;
use crate::discovery::EndpointAddress;
use crate::probe::Probe;
use crate::transport::Connection;

/// One endpoint: its connection, its circuit, its load. It lives as long as it is in the choice or a call is on
/// it; its tasks end with it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Unique within the target, never used again.
    pub(crate) id: u64,
    /// Its address in words.
    pub(crate) name: Arc<str>,
    pub(crate) circuit: Circuit,
    pub(crate) connection: Arc<Connection>,
    pub(crate) load: Arc<Load>,
    standing: watch::Receiver<Standing>,
    suspected: Arc<Notify>,
    supervisor: AbortHandle,
}

/// Whether calls go to an endpoint, and why not.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    /// It is not known yet: the first connection or the first probe is under way. Worth waiting for.
    Waiting,
    /// In the choice.
    Ready,
    /// In the choice for one call at a time.
    Trial,
    /// Not in the choice.
    Out { why: Out, retry_at: Option<Instant> },
}

/// Why an endpoint is not in the choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// Its circuit is open; by this, where it is known.
    CircuitOpen(Option<Arc<str>>),
    /// There is no connection to it.
    NotConnected(Arc<str>),
    /// Its probe fails.
    Unwell(Arc<str>),
}

/// What an endpoint is made with.
pub(crate) struct EndpointParts {
    pub(crate) id: u64,
    pub(crate) target: Arc<str>,
    pub(crate) address: EndpointAddress,
    pub(crate) circuit: Circuit,
    pub(crate) connection: Connection,
    pub(crate) load: Arc<Load>,
    pub(crate) probe: Probe,
    pub(crate) settings: super::BalanceSettings,
}

// === impl Endpoint ===

impl Endpoint {
    /// Starts its supervisor. `changed` is told whenever its standing changes.
    pub(crate) fn start(parts: EndpointParts, changed: watch::Sender<u64>) -> Arc<Self> {
        let name: Arc<str> = parts.address.to_string().into();
        let connection = Arc::new(parts.connection);
        let (publisher, standing) = watch::channel(Standing::Waiting);
        let suspected = Arc::new(Notify::new());
        let supervisor = Supervisor {
            target: parts.target,
            endpoint: name.clone(),
            circuit: parts.circuit.clone(),
            connection: connection.clone(),
            load: parts.load.clone(),
            probe: parts.probe,
            interval: parts.settings.probe_interval,
            timeout: parts.settings.probe_timeout,
            standing: publisher,
            suspected: suspected.clone(),
            changed,
        };
        Arc::new(Self {
            id: parts.id,
            name,
            circuit: parts.circuit,
            connection,
            load: parts.load,
            standing,
            suspected,
            supervisor: tokio::spawn(supervisor.run()).abort_handle(),
        })
    }

    /// A call got no answer in its time. Has the endpoint asked whether it is well, whatever it counts as: one that
    /// is frozen is found by one call and not by as many as its circuit takes.
    pub(crate) fn suspect(&self) {
        self.suspected.notify_one();
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

// === impl Standing ===

impl Standing {
    pub(crate) fn is_in_choice(&self) -> bool {
        matches!(self, Self::Ready | Self::Trial)
    }

    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Trial => "trial",
            Self::Out { .. } => "out",
        }
    }
}

// === impl Out ===

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CircuitOpen(None) => f.write_str("circuit open"),
            Self::CircuitOpen(Some(why)) => write!(f, "circuit open after: {why}"),
            Self::NotConnected(reason) => write!(f, "no connection: {reason}"),
            Self::Unwell(reason) => f.write_str(reason),
        }
    }
}
