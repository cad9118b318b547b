use safelight_media::MediaError;
use safelight_proto::transformer::v1 as proto;
use safelight_store::StoreError;
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};

use crate::error::TransformError;
use crate::film::Animation;
use crate::size::Size;
use crate::transformer::{Output, Transformer};

/// The contract `safelight.transformer.v1.Transformer`.
pub(crate) struct Transforms {
    transformer: Transformer,
    /// Whether health says that it serves.
    ready: watch::Sender<bool>,
}

// === impl Transforms ===

impl Transforms {
    pub(crate) fn new(transformer: Transformer, ready: watch::Sender<bool>) -> Self {
        Self { transformer, ready }
    }

    /// Where the store failed a call, it is asked whether it works at all. If it does not, health says so at once, and
    /// the caller may come again with nothing lost.
    async fn done<T>(&self, outcome: Result<T, TransformError>) -> Result<T, Status> {
        let error = match outcome {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let is_storage = match &error {
            TransformError::Store(_) => true,
            TransformError::Media(media) => media.is_retryable(),
            _ => false,
        };
        if is_storage && let Err(away) = self.transformer.check_store().await {
            tracing::warn!(%error, "the store failed a call and does not work");
            self.ready.send_replace(false);
            return Err(Status::unavailable(away.to_string()));
        }
        Err(error.into())
    }
}

#[tonic::async_trait]
impl proto::transformer_server::Transformer for Transforms {
    async fn probe(
        &self,
        request: Request<proto::ProbeRequest>,
    ) -> Result<Response<proto::ProbeResponse>, Status> {
        let probe = self.transformer.probe(request.into_inner().uri).await;
        let probe = self.done(probe).await?;
        Ok(Response::new(proto::ProbeResponse {
            content_type: probe.content_type.to_owned(),
            width: probe.width,
            height: probe.height,
            bytes: probe.bytes,
            duration_ms: probe.duration_ms,
        }))
    }

    async fn capture_frame(
        &self,
        request: Request<proto::CaptureFrameRequest>,
    ) -> Result<Response<proto::CaptureFrameResponse>, Status> {
        let proto::CaptureFrameRequest { uri, output, at_ms } = request.into_inner();
        let output = self.transformer.capture_frame(uri, output, at_ms).await;
        let output = self.done(output).await?;
        Ok(Response::new(proto::CaptureFrameResponse {
            output: Some(output_message(output)),
        }))
    }

    async fn animated_gif(
        &self,
        request: Request<proto::AnimatedGifRequest>,
    ) -> Result<Response<proto::AnimatedGifResponse>, Status> {
        let request = request.into_inner();
        let usual = Animation::default();
        let asked = Animation {
            width: request.width.unwrap_or(usual.width),
            max_ms: request.max_ms.unwrap_or(usual.max_ms),
            fps: request.fps.unwrap_or(usual.fps),
        };
        let proto::AnimatedGifRequest { uri, output, .. } = request;
        let output = self.transformer.animated_gif(uri, output, asked).await;
        let output = self.done(output).await?;
        Ok(Response::new(proto::AnimatedGifResponse {
            output: Some(output_message(output)),
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
        let outputs = self.transformer.thumbnails(uri, output, sizes.collect()).await;
        let outputs = self.done(outputs).await?;
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

// The code tells the caller what to do, as the recognizer's: INVALID_ARGUMENT, OUT_OF_RANGE (it is over a limit) and
// NOT_FOUND are about the medium and final, ABORTED and INTERNAL may be tried again, RESOURCE_EXHAUSTED means that there is
// no room, here or in the store, and says nothing about the medium. UNAVAILABLE, which is told elsewhere, means that the
// store takes nothing.
impl From<TransformError> for Status {
    fn from(error: TransformError) -> Self {
        let code = match &error {
            TransformError::Media(MediaError::Missing) => Code::NotFound,
            TransformError::Media(media) if media.is_retryable() => Code::Aborted,
            TransformError::Media(MediaError::TooLarge { .. }) | TransformError::FilmLimit(_) => {
                Code::OutOfRange
            }
            TransformError::Media(_)
            | TransformError::Request(_)
            | TransformError::Film(_)
            | TransformError::NoMedium
            | TransformError::NoFilm => Code::InvalidArgument,
            TransformError::NoFfmpeg => Code::Unimplemented,
            TransformError::Store(
                StoreError::Missing
                | StoreError::There
                | StoreError::TooLarge { .. }
                | StoreError::Unavailable(_)
                | StoreError::Overwrites,
            ) => {
                tracing::warn!(%error, "the store failed a call");
                Code::Aborted
            }
            TransformError::Busy | TransformError::Store(StoreError::Full) => Code::ResourceExhausted,
            TransformError::Crashed => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}
