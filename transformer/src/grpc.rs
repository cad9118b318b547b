use safelight_media::MediaError;
use safelight_proto::transformer::v1 as proto;
use safelight_store::StoreError;
use tonic::{Code, Request, Response, Status};

use crate::error::TransformError;
use crate::size::Size;
use crate::transformer::{Output, Transformer};

/// The contract `safelight.transformer.v1.Transformer`.
pub(crate) struct Transforms {
    transformer: Transformer,
}

// === impl Transforms ===

impl Transforms {
    pub(crate) fn new(transformer: Transformer) -> Self {
        Self { transformer }
    }
}

#[tonic::async_trait]
impl proto::transformer_server::Transformer for Transforms {
    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<proto::ProbeResponse>, Status> {
        let probe = self.transformer.probe(request.into_inner().uri).await?;
        Ok(Response::new(proto::ProbeResponse {
            content_type: probe.content_type.to_owned(),
            width: probe.width,
            height: probe.height,
            bytes: probe.bytes,
        }))
    }

    async fn thumbnails(
        &self,
        request: Request<proto::ThumbnailsRequest>,
    ) -> Result<Response<proto::ThumbnailsResponse>, Status> {
        let proto::ThumbnailsRequest { uri, output, sizes } = request.into_inner();
        let sizes = sizes.into_iter().map(|size| Size {
            role: size.role,
            suffix: size.suffix,
            width: size.width,
        });
        let outputs = self.transformer.thumbnails(uri, output, sizes.collect()).await?;
        Ok(Response::new(proto::ThumbnailsResponse {
            outputs: outputs.into_iter().map(output_message).collect(),
        }))
    }
}

fn output_message(output: Output) -> proto::Output {
    proto::Output {
        role: output.role,
        key: output.key.to_string(),
        uri: output.uri,
        content_type: output.content_type.to_owned(),
        width: output.width,
        height: output.height,
        bytes: output.bytes,
        blake3: output.blake3.to_vec(),
    }
}

// The code tells the caller what to do, as the recognizer's: INVALID_ARGUMENT and NOT_FOUND are about the medium and
// final, ABORTED and INTERNAL may be tried again, RESOURCE_EXHAUSTED means that nothing was begun.
impl From<TransformError> for Status {
    fn from(error: TransformError) -> Self {
        let code = match &error {
            TransformError::Media(MediaError::Missing) => Code::NotFound,
            TransformError::Media(media) if media.is_retryable() => Code::Aborted,
            TransformError::Media(_) | TransformError::Request(_) => Code::InvalidArgument,
            TransformError::Store(
                StoreError::Missing
                | StoreError::Full
                | StoreError::TooLarge { .. }
                | StoreError::Unavailable(_),
            ) => {
                tracing::warn!(%error, "the store failed a call");
                Code::Aborted
            }
            TransformError::Busy => Code::ResourceExhausted,
            TransformError::Crashed => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}
