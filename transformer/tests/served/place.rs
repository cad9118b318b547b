//! A transformer to be asked.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use image::RgbImage;
use safelight_media::{Library, MediaArgs};
use safelight_proto::transformer::v1::transformer_client::TransformerClient;
use safelight_proto::transformer::v1::{
    AnimatedGifRequest, CaptureFrameRequest, Output, ProbeRequest, ProbeResponse, Size, ThumbnailsRequest,
};
use safelight_service::Shutdown;
use safelight_store::{Store, StoreArgs};
use safelight_transformer::{Config, Transformer, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A transformer that serves, with a folder of pictures and a store. Stops when dropped.
pub(crate) struct Place {
    folder: TempDir,
    channel: Channel,
    client: TransformerClient<Channel>,
    shutdown: Shutdown,
}

// === impl Place ===

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With these flags, each with its value.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        Self::start(flags, 50_000_000).await
    }

    /// With frames of at most so many pixels.
    pub(crate) async fn with_max_pixels(max_pixels: u64) -> Self {
        Self::start(&[], max_pixels).await
    }

    async fn start(flags: &[&str], max_pixels: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pictures, stored) = (folder.path().join("pictures"), folder.path().join("store"));
        fs::create_dir(&pictures).unwrap();
        let library = Library::new(&MediaArgs::with_roots([pictures, stored.clone()])).unwrap();
        let store = Store::open(&StoreArgs::of_folder(&stored)).unwrap();
        let config = Flags::parse_from([&["transformer"], flags].concat()).config;
        let transformer = Transformer::start(&config, library, max_pixels, store)
            .await
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { serve(listener, transformer, None, stop).await.unwrap() });
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Self {
            folder,
            client: TransformerClient::new(channel.clone()),
            channel,
            shutdown,
        }
    }

    /// Waits until its health is this one.
    pub(crate) async fn until_health_is(&self, wanted: ServingStatus) {
        let mut client = HealthClient::new(self.channel.clone());
        let request = HealthCheckRequest::default();
        let mut told = client.watch(request).await.unwrap().into_inner();
        let waiting = async { while told.message().await.unwrap().unwrap().status() != wanted {} };
        tokio::time::timeout(Duration::from_secs(30), waiting)
            .await
            .expect("health changes");
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Puts a file among the pictures and returns its URI.
    pub(crate) fn picture(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path("pictures").join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) async fn ask(&self, uri: &str, output: &str, sizes: Vec<Size>) -> Result<Vec<Output>, Status> {
        let request = ThumbnailsRequest {
            uri: uri.to_owned(),
            output: output.to_owned(),
            sizes,
        };
        let answer = self.client.clone().thumbnails(request).await?;
        Ok(answer.into_inner().outputs)
    }

    pub(crate) async fn thumbnails(&self, uri: &str) -> Result<Vec<Output>, Status> {
        self.ask(uri, "output/1/cat", crate::thumbnails::usual()).await
    }

    pub(crate) async fn probe(&self, uri: &str) -> Result<ProbeResponse, Status> {
        let request = ProbeRequest { uri: uri.to_owned() };
        Ok(self.client.clone().probe(request).await?.into_inner())
    }

    /// A frame of a film, under `output/1/clip`.
    pub(crate) async fn frame(&self, uri: &str, at_ms: Option<u64>) -> Result<Output, Status> {
        let request = CaptureFrameRequest {
            uri: uri.to_owned(),
            output: "output/1/clip".to_owned(),
            at_ms,
        };
        let answer = self.client.clone().capture_frame(request).await?;
        Ok(answer.into_inner().output.unwrap())
    }

    /// An animation as it is made by default, under another key.
    pub(crate) async fn gif_to(&self, uri: &str, output: &str) -> Result<Output, Status> {
        let request = AnimatedGifRequest {
            uri: uri.to_owned(),
            output: output.to_owned(),
            ..AnimatedGifRequest::default()
        };
        let answer = self.client.clone().animated_gif(request).await?;
        Ok(answer.into_inner().output.unwrap())
    }

    /// An animation of a film, under `output/1/clip`.
    pub(crate) async fn gif(
        &self,
        uri: &str,
        width: Option<u32>,
        max_ms: Option<u32>,
    ) -> Result<Output, Status> {
        let request = AnimatedGifRequest {
            uri: uri.to_owned(),
            output: "output/1/clip".to_owned(),
            width,
            max_ms,
            fps: None,
        };
        let answer = self.client.clone().animated_gif(request).await?;
        Ok(answer.into_inner().output.unwrap())
    }

    pub(crate) fn stored(&self, output: &Output) -> Vec<u8> {
        let bytes = fs::read(self.path("store").join(&output.key)).unwrap();
        assert_eq!(fs::read(&output.uri).unwrap(), bytes);
        assert_eq!(output.bytes, bytes.len() as u64);
        bytes
    }

    pub(crate) fn shown(&self, output: &Output) -> RgbImage {
        let image = image::load_from_memory(&self.stored(output)).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (output.width, output.height));
        image
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}
