//! A target: a service that is called by name, and all that belongs to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::availability::Availability;
use crate::breaker::{BreakerFuture, BreakerLayer, BreakerService, Circuit, CircuitState, Door, Policy};
use crate::error::BuildError;
use crate::probe::Probe;
use crate::settings::Settings;
use crate::supervisor::Supervisor;
use crate::transport::{Address, Connection, Connector, Endpoint, LinkState};

/// A service that is called by name. Cheap to clone; its tasks end with the last clone and the last
/// [`MeshChannel`] of it.
#[derive(Clone, Debug)]
pub struct Target {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    name: Arc<str>,
    address: String,
    circuit: Circuit,
    endpoint: Endpoint,
    settings: Settings,
    availability: watch::Receiver<Availability>,
    supervisor: AbortHandle,
}

/// Makes a [`Target`]; from [`Target::builder`].
#[derive(Clone, Debug)]
pub struct TargetBuilder {
    name: String,
    address: String,
    settings: Settings,
    probe: Probe,
}

/// A service for clients that tonic generates. Cheap to clone.
///
/// It is always ready: whether a call can be made is decided when it is made. Errors are [`Status`]es whose
/// source is a [`CallError`](crate::CallError).
#[derive(Clone, Debug)]
pub struct MeshChannel {
    service: BreakerService<Endpoint>,
    /// Keeps the target's tasks.
    _parts: Arc<Parts>,
}

pin_project! {
    /// A call under way.
    ///
    /// Cancel safe: dropped, it resets the stream at the server and says nothing about it to the circuit.
    pub struct MeshFuture {
        #[pin]
        inner: BreakerFuture<<Endpoint as Service<Request<Body>>>::Future>,
    }
}

/// Where a target stands, for pages and logs. All times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub target: String,
    /// Its address.
    pub address: String,
    /// `closed`, `half_open` or `open`.
    pub circuit: &'static str,
    /// For how long the circuit has been so.
    pub circuit_for_ms: u64,
    /// Counts the changes of the circuit.
    pub generation: u64,
    /// Failures in a row while it is closed.
    pub failures_in_a_row: u32,
    /// What opened it.
    pub last_failure: Option<String>,
    /// When the present break ends.
    pub open_for_another_ms: Option<u64>,
    /// Whether there is a live connection.
    pub connected: bool,
    /// Whether consumers should take work.
    pub available: bool,
    /// Why.
    pub reason: String,
}

// === impl Target ===

impl Target {
    /// Begins to make a target. The name is the label of its metrics and log lines; the address an
    /// `http://HOST:PORT`.
    pub fn builder(name: impl Into<String>, address: impl Into<String>) -> TargetBuilder {
        TargetBuilder {
            name: name.into(),
            address: address.into(),
            settings: Settings::default(),
            probe: Probe::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// A channel for clients that tonic generates.
    pub fn channel(&self) -> MeshChannel {
        let parts = &self.parts;
        let layer = BreakerLayer::new(parts.circuit.clone()).usual_deadline(parts.settings.deadline);
        MeshChannel {
            service: layer.layer(parts.endpoint.clone()),
            _parts: self.parts.clone(),
        }
    }

    /// Whether the target takes work, as it changes.
    ///
    /// It starts *unavailable* and turns available when the first connection has passed the first probe, so a
    /// consumer that starts before the service takes nothing. It turns unavailable when the circuit opens, when a
    /// lost connection cannot be made again at once, or when the probe after a new connection fails. It turns
    /// available when a probe passes, even where the circuit was open and nobody calls: the circuit is then
    /// half-open, and waits for the one call that closes it.
    pub fn availability(&self) -> watch::Receiver<Availability> {
        self.parts.availability.clone()
    }

    /// Where it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let parts = &self.parts;
        let status = parts.circuit.status();
        let availability = parts.availability.borrow().clone();
        let now = tokio::time::Instant::now();
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Snapshot {
            target: parts.name.to_string(),
            address: parts.address.clone(),
            circuit: status.state.as_str(),
            circuit_for_ms: millis(now.saturating_duration_since(status.since)),
            generation: status.generation,
            failures_in_a_row: parts.circuit.failures(),
            last_failure: status.last_failure.map(|why| why.to_string()),
            open_for_another_ms: status
                .open_until
                .map(|until| millis(until.saturating_duration_since(now))),
            connected: matches!(
                parts.endpoint.connection().watch().borrow().state,
                LinkState::Up(_)
            ),
            available: availability.is_available(),
            reason: availability.reason.into_owned(),
        }
    }

    /// Where its circuit stands.
    pub fn circuit_state(&self) -> CircuitState {
        self.parts.circuit.status().state
    }
}

// === impl Parts ===

impl Drop for Parts {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

// === impl TargetBuilder ===

impl TargetBuilder {
    /// Replaces the default settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// How the target is asked whether it is well; by default a connection is enough.
    pub fn probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Makes the target and begins to connect in the background; does not wait for the server.
    ///
    /// # Errors
    /// An address or a setting that cannot be, or no tokio runtime around.
    pub fn connect(self) -> Result<Target, BuildError> {
        self.settings.validate()?;
        let address = Address::parse(&self.address).map_err(|reason| BuildError::Address {
            target: self.name.clone(),
            address: self.address.clone(),
            reason,
        })?;
        if Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        let settings = self.settings;
        let name: Arc<str> = self.name.into();
        let circuit = Circuit::new(
            name.clone(),
            Policy {
                door: Door::Probe,
                ..settings.policy()
            },
        );
        let connector = Connector::new(address.clone(), &settings);
        let connection = Connection::keep(
            name.clone(),
            connector,
            settings.keepalive_interval,
            settings.probe_interval,
        );
        let endpoint = Endpoint::new(
            name.clone(),
            Arc::new(address),
            Arc::new(connection),
            settings.deadline,
        );
        let (publisher, availability) = watch::channel(Availability::no("not connected yet", None));
        let supervisor = Supervisor {
            target: name.clone(),
            circuit: circuit.clone(),
            endpoint: endpoint.with_deadline(settings.probe_timeout),
            probe: self.probe,
            interval: settings.probe_interval,
            availability: publisher,
        };
        let supervisor = tokio::spawn(supervisor.run()).abort_handle();
        let parts = Parts {
            name,
            address: self.address,
            circuit,
            endpoint,
            settings,
            availability,
            supervisor,
        };
        Ok(Target {
            parts: Arc::new(parts),
        })
    }
}

// === impl MeshChannel ===

impl Service<Request<Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = MeshFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.service, cx).map_err(Status::from_error)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        MeshFuture {
            inner: self.service.call(request),
        }
    }
}

// === impl MeshFuture ===

impl Future for MeshFuture {
    type Output = Result<Response<Body>, Status>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().inner.poll(cx));
        Poll::Ready(match result {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(Status::from_error(error)),
        })
    }
}

impl std::fmt::Debug for MeshFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshFuture").finish_non_exhaustive()
    }
}
