use safelight_proto::facerecog::health_check_server::HealthCheck;
use safelight_proto::facerecog::identify_server::Identify;
use safelight_proto::facerecog::{Empty, HealthCheckResponse, IdentifyRequest, IdentifyResponse};
use tonic::{Request, Response, Status};

use crate::recognizer::Recognizer;

/// What the answer says where nobody is known.
const NOT_FOUND: &str = "not_found";

/// The contract that recognition back-ends share.
#[derive(Clone)]
pub(crate) struct FaceRecog {
    recognizer: Recognizer,
}

// === impl FaceRecog ===

impl FaceRecog {
    pub(crate) fn new(recognizer: Recognizer) -> Self {
        Self { recognizer }
    }
}

#[tonic::async_trait]
impl Identify for FaceRecog {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let analysis = self.recognizer.analyze(&request.get_ref().image_path).await?;
        let matches = self.recognizer.matches(&analysis);
        let nearest = matches
            .into_iter()
            .flatten()
            .min_by(|a, b| a.distance.total_cmp(&b.distance));
        let image_name =
            nearest.map_or_else(|| NOT_FOUND.to_owned(), |nearest| nearest.image_name.to_string());
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}

#[tonic::async_trait]
impl HealthCheck for FaceRecog {
    async fn health_check(&self, _request: Request<Empty>) -> Result<Response<HealthCheckResponse>, Status> {
        let ready = self.recognizer.state().borrow().is_serving();
        Ok(Response::new(HealthCheckResponse { ready }))
    }
}
