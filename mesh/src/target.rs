//! A target: a service that is called by name, and all that belongs to it.

use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::availability::Availability;
use crate::balancer::{Balance, BalanceSettings, Picker};
use crate::breaker::{Cap, CircuitState, Classification, Door, Policy};
use crate::call::{Budget, Bulkhead, Caller, MeshChannel, Meters, Methods};
use crate::classify::Classifier;
use crate::discovery::{Discovery, DiscoverySettings, TargetAddress};
use crate::error::BuildError;
use crate::explain::Explanation;
use crate::faults::{Fault, FaultError, Faults, InjectedFaults};
use crate::handle::{EndpointHandle, UnknownEndpoint};
use crate::probe::Probe;
use crate::settings::Settings;
use crate::simulation::Dialer;
use crate::snapshot::Snapshot;
use crate::tls::ClientTls;
use crate::transport::{Connector, Origin};

/// A service that is called by name. Cheap to clone; its tasks end with the last clone and the last
/// [`MeshChannel`] of it.
#[derive(Clone, Debug)]
pub struct Target {
    parts: Arc<Parts>,
}

#[derive(Debug)]
pub(crate) struct Parts {
    name: Arc<str>,
    address: String,
    caller: Arc<Caller>,
    availability: watch::Receiver<Availability>,
    balance: AbortHandle,
}

/// Makes a [`Target`]; from [`Target::builder`].
#[derive(Clone, Debug)]
pub struct TargetBuilder {
    name: String,
    address: String,
    settings: Settings,
    discovery: DiscoverySettings,
    probe: Probe,
    methods: Methods,
    classification: Classification,
    tls: Option<ClientTls>,
    dialer: Option<Dialer>,
}

// === impl Target ===

impl Target {
    /// Begins to make a target. The name is the label of its metrics and log lines. The address is a name as gRPC
    /// has them: `dns:///HOST:PORT`, `dns://SERVER:PORT/HOST:PORT`, `static:///HOST:PORT,HOST:PORT`, `unix:/PATH`, or
    /// an `http://HOST:PORT`, which is the same as `dns:///HOST:PORT`.
    pub fn builder(name: impl Into<String>, address: impl Into<String>) -> TargetBuilder {
        TargetBuilder {
            name: name.into(),
            address: address.into(),
            settings: Settings::default(),
            discovery: DiscoverySettings::default(),
            probe: Probe::default(),
            methods: Methods::default(),
            classification: Classification::default(),
            tls: None,
            dialer: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// A channel for clients that tonic generates.
    pub fn channel(&self) -> MeshChannel {
        MeshChannel::new(self.parts.caller.clone(), self.parts.clone())
    }

    /// Whether the target takes work, as it changes.
    ///
    /// It starts *unavailable* and turns available when a first connection has passed the first probe, so a
    /// consumer that starts before the service takes nothing. It turns unavailable when no endpoint is left that
    /// takes calls: the circuits are open, lost connections cannot be made again at once, probes fail. It turns
    /// available when a probe passes, even where nobody calls: the circuit is then half-open, and waits for the one
    /// call that closes it.
    pub fn availability(&self) -> watch::Receiver<Availability> {
        self.parts.availability.clone()
    }

    /// Chooses an endpoint as a call does and lets it go again, for measuring; whether there was one.
    #[doc(hidden)]
    pub fn choose_and_let_go(&self) -> bool {
        self.parts.caller.picker.pick(&[], Instant::now()).is_ok()
    }

    /// Where it stands now.
    pub fn snapshot(&self) -> Snapshot {
        let availability = self.parts.availability.borrow().clone();
        Snapshot::of(&self.parts.caller, &self.parts.address, &availability)
    }

    /// Where a call would go now, and why not elsewhere.
    pub fn explain(&self) -> Explanation {
        let availability = self.parts.availability.borrow().clone();
        Explanation::of(&self.parts.caller, &self.parts.address, &availability)
    }

    /// One of its endpoints, by its address as [`snapshot`](Self::snapshot) tells it, or with
    /// [`EndpointHandle::ALL`] all that it has now; to be ordered about.
    ///
    /// # Errors
    /// There is no such endpoint, or none at all.
    pub fn endpoint(&self, endpoint: &str) -> Result<EndpointHandle, UnknownEndpoint> {
        EndpointHandle::of(&self.parts.name, &self.parts.caller.picker.choice(), endpoint)
    }

    /// Puts faults into its calls for the next ten minutes, in the place of those that are there; none clears them.
    ///
    /// # Errors
    /// What cannot be; those that were there before stay.
    pub fn inject(&self, faults: Vec<Fault>) -> Result<(), FaultError> {
        self.inject_for(faults, Fault::USUAL)
    }

    /// As [`inject`](Self::inject), for this time; at most [`Fault::LONGEST`].
    ///
    /// # Errors
    /// As there.
    pub fn inject_for(&self, mut faults: Vec<Fault>, time: Duration) -> Result<(), FaultError> {
        for fault in &mut faults {
            fault.endpoint = fault.endpoint.take().filter(|named| named != EndpointHandle::ALL);
            if let Some(endpoint) = &fault.endpoint {
                self.endpoint(endpoint)?;
            }
        }
        self.parts.caller.faults.set(faults, time)
    }

    /// The faults that are put into its calls now.
    pub fn faults(&self) -> InjectedFaults {
        self.parts.caller.faults.list()
    }

    /// Where the circuits of its endpoints stand, taken together: closed if any is, else half-open if any is.
    pub fn circuit_state(&self) -> CircuitState {
        let choice = self.parts.caller.picker.choice();
        let states = || choice.all.iter().map(|endpoint| endpoint.circuit.status().state);
        if choice.all.is_empty() || states().any(|state| state == CircuitState::Closed) {
            CircuitState::Closed
        } else if states().any(|state| state == CircuitState::HalfOpen) {
            CircuitState::HalfOpen
        } else {
            CircuitState::Open
        }
    }
}

// === impl Parts ===

impl Drop for Parts {
    fn drop(&mut self) {
        self.balance.abort();
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

    /// What is known of its methods: those that may be repeated are tried again.
    pub fn methods(mut self, methods: Methods) -> Self {
        self.methods = methods;
        self
    }

    /// Speaks TLS with its endpoints. Their certificates have to bear the identity that `tls` expects, whatever the
    /// address is.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Changes what the codes of its methods say about it.
    pub fn classification(mut self, classification: Classification) -> Self {
        self.classification = classification;
        self
    }

    /// Replaces the defaults by which its name is followed.
    pub fn discovery(mut self, settings: DiscoverySettings) -> Self {
        self.discovery = settings;
        self
    }

    /// Reaches its endpoints in another way than by sockets.
    #[doc(hidden)]
    pub fn dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = Some(dialer);
        self
    }

    /// Makes the target and begins to connect in the background; does not wait for the server.
    ///
    /// # Errors
    /// An address or a setting that cannot be, or no tokio runtime around.
    pub fn connect(self) -> Result<Target, BuildError> {
        self.settings.validate()?;
        self.discovery.validate()?;
        let unusable = |reason| BuildError::Address {
            target: self.name.clone(),
            address: self.address.clone(),
            reason,
        };
        let address = TargetAddress::parse(&self.address).map_err(unusable)?;
        if address.wants_tls() && self.tls.is_none() {
            return Err(unusable(
                "https wants TLS, which this target was not given".to_owned(),
            ));
        }
        let runtime = Handle::try_current().map_err(|_| BuildError::NoRuntime)?;
        let settings = self.settings;
        let target: Arc<str> = self.name.as_str().into();
        let discovery =
            Discovery::start(target.clone(), &address, self.discovery).map_err(|_| BuildError::NoRuntime)?;
        let origin = Origin {
            scheme: if self.tls.is_some() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            },
            authority: address.authority().clone(),
        };
        let tls = self.tls.map(|tls| (tls, Arc::from(address.host())));
        let picker = Arc::new(Picker::new(settings.ramp));
        let (publisher, availability) = watch::channel(Availability::no("not connected yet", None));
        let balance = Balance {
            target: target.clone(),
            settings: BalanceSettings {
                probe_interval: settings.probe_interval,
                probe_timeout: settings.probe_timeout,
                keepalive_interval: settings.keepalive_interval,
                policy: Policy {
                    door: Door::Probe,
                    ..settings.policy()
                },
            },
            cap: Cap::new(),
            connector: Connector::new(origin.clone(), tls, &settings).with_dialer(self.dialer),
            probe: self.probe,
            discovery,
            picker: picker.clone(),
            availability: publisher,
        };
        let balance = tokio::spawn(balance.run()).abort_handle();
        let caller = Caller {
            target: target.clone(),
            origin,
            picker,
            methods: self.methods,
            classifier: Classifier {
                usual_deadline: Some(settings.deadline),
                classification: self.classification,
            },
            bulkhead: Bulkhead::new(settings.in_flight_limit, settings.wait_limit),
            budget: Budget::new(settings.retry_budget, settings.retry_floor),
            faults: Faults::new(target.clone(), runtime),
            meters: Meters::new(&target),
            settings,
        };
        let parts = Parts {
            name: target,
            address: self.address,
            caller: Arc::new(caller),
            availability,
            balance,
        };
        Ok(Target {
            parts: Arc::new(parts),
        })
    }
}
