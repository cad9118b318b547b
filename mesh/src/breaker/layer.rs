//! The layer: puts a circuit around a service.

use std::time::Duration;

use tower::Layer;

use super::{BreakerService, Circuit, Classification};
use crate::classify::Classifier;

/// Puts a [`Circuit`] around any service of HTTP requests, gRPC or plain.
///
/// Every service the layer makes shares the one circuit.
///
/// ```
/// use safelight_mesh::breaker::{BreakerLayer, Circuit, Policy};
/// use tower::ServiceBuilder;
///
/// let circuit = Circuit::new("billing", Policy::default());
/// # let channel = tower::service_fn(|_: http::Request<tonic::body::Body>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(tonic::body::Body::empty()))
/// # });
/// let service = ServiceBuilder::new().layer(BreakerLayer::new(circuit)).service(channel);
/// # drop(service);
/// ```
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    circuit: Circuit,
    classifier: Classifier,
}

// === impl BreakerLayer ===

impl BreakerLayer {
    /// A layer by this circuit.
    pub fn new(circuit: Circuit) -> Self {
        Self {
            circuit,
            classifier: Classifier::default(),
        }
    }

    /// The time a call is usually given. A call that ends with `DEADLINE_EXCEEDED` after its caller allowed less
    /// says nothing about the service. Unset, no call with a `grpc-timeout` of its caller's does.
    pub fn usual_deadline(mut self, usual: Duration) -> Self {
        self.classifier.usual_deadline = Some(usual);
        self
    }

    /// Changes the table of [what is evidence](crate::breaker#what-is-evidence).
    pub fn classification(mut self, classification: Classification) -> Self {
        self.classifier.classification = classification;
        self
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = BreakerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BreakerService::new(inner, self.circuit.clone(), self.classifier.clone())
    }
}
