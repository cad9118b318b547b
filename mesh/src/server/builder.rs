//! Making a server.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connection::Connections;
use super::gate::Gate;
use super::health::HealthService;
use super::method::{Methods, OUR_OWN};
use super::phase::Phase;
use super::secure::Secure;
use super::serve::{DrainReport, Server};
use super::settings::ServerSettings;
use crate::grpc::health::HealthServer;
use crate::grpc::{Body, NamedService, RoutesBuilder};
use crate::settings::SettingsError;

/// Makes a [`Server`]; from [`Server::builder`].
pub struct ServerBuilder {
    name: String,
    settings: ServerSettings,
    descriptors: Vec<Vec<u8>>,
    readiness: Option<watch::Receiver<bool>>,
    secure: Option<Arc<dyn Secure>>,
    services: Vec<&'static str>,
    routes: RoutesBuilder,
}

/// A server that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// What was given as descriptors is no encoded `FileDescriptorSet`.
    #[error("the descriptors cannot be read: {0}")]
    Descriptors(#[from] prost::DecodeError),
    /// The descriptors do not fit together.
    #[error("the descriptors cannot be served by reflection: {0}")]
    Reflection(#[from] crate::grpc::reflection::Error),
}

// === impl ServerBuilder ===

impl ServerBuilder {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            settings: ServerSettings::default(),
            descriptors: Vec::new(),
            readiness: None,
            secure: None,
            services: Vec::new(),
            routes: RoutesBuilder::default(),
        }
    }

    /// Replaces the default settings.
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds encoded `FileDescriptorSet`s. With them reflection, v1 and v1alpha, tells of the services that are
    /// added here, so that grpcurl needs no files; and metrics and the estimate of service times know the methods
    /// by name. Without any there is no reflection.
    pub fn reflection(mut self, descriptors: &[&[u8]]) -> Self {
        self.descriptors
            .extend(descriptors.iter().map(|set| set.to_vec()));
        self
    }

    /// What health follows, for the server as a whole and each service alike; by default the server is ready from
    /// its start to its stop. Where the sender is dropped, its last word holds.
    pub fn health(mut self, readiness: watch::Receiver<bool>) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// Speaks over what this makes of each connection, and nothing else; by default over plain TCP.
    pub fn secure(mut self, secure: impl Secure) -> Self {
        self.secure = Some(Arc::new(secure));
        self
    }

    /// Adds a service as tonic generates it.
    ///
    /// # Panics
    /// If a service of this name was added before, as tonic's router does.
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.services.push(S::NAME);
        self.routes.add_service(service);
        self
    }

    /// Puts it together.
    ///
    /// # Errors
    /// Settings that cannot be, or descriptors that cannot be read.
    pub fn build(mut self) -> Result<Server, ServeError> {
        self.settings.validate()?;
        let (phase, phases) = watch::channel(Phase::Serving);
        let health = HealthService::new(&self.services, self.readiness.take(), phases.clone());
        let methods = self.add_our_own(health)?;
        let running = TaskTracker::new();
        let gate = Gate {
            methods,
            routes: self.routes.routes().prepare(),
            slots: Arc::new(Semaphore::new(self.settings.max_in_flight)),
            max_in_flight: self.settings.max_in_flight,
            shed_pushback: self.settings.shed_pushback,
            running: running.clone(),
            phases: phases.clone(),
        };
        let places = Arc::new(Semaphore::new(self.settings.max_connections));
        let connections = Connections::new(Arc::new(gate), self.settings, self.secure);
        Ok(Server {
            name: self.name,
            connections: Arc::new(connections),
            places,
            phase,
            running,
            tasks: TaskTracker::new(),
        })
    }

    /// [`build`](Self::build) and [`serve`](Server::serve) in one.
    ///
    /// # Errors
    /// As [`build`](Self::build), before anything is served.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<DrainReport, ServeError> {
        Ok(self.build()?.serve(listener, shutdown).await)
    }

    /// Adds health and, where there is something to tell, reflection.
    fn add_our_own(&mut self, health: HealthService) -> Result<Methods, ServeError> {
        self.routes.add_service(HealthServer::new(health));
        let described = !self.descriptors.is_empty();
        let our_own: &[&str] = if described { &OUR_OWN } else { &OUR_OWN[..1] };
        let services = [self.services.as_slice(), our_own].concat();
        self.descriptors.extend([
            crate::grpc::health::FILE_DESCRIPTOR_SET.to_vec(),
            crate::grpc::reflection::V1_DESCRIPTORS.to_vec(),
            crate::grpc::reflection::V1ALPHA_DESCRIPTORS.to_vec(),
        ]);
        if described {
            let reflection = || {
                let mut reflection =
                    crate::grpc::reflection::Builder::configure().include_reflection_service(false);
                for set in &self.descriptors {
                    reflection = reflection.register_encoded_file_descriptor_set(set);
                }
                for service in &services {
                    reflection = reflection.with_service_name(*service);
                }
                reflection
            };
            let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
            self.routes.add_service(v1).add_service(v1alpha);
        }
        Ok(Methods::new(&services, &self.descriptors)?)
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}
