//! A recognizer behind real gRPC, on folders of its own.
#![allow(dead_code, reason = "each test file uses some of these")]

#[path = "../../../media/tests/fixtures/mod.rs"]
pub(crate) mod fixtures;
pub(crate) mod log;
pub(crate) mod photographs;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use safelight_database::Database;
use safelight_media::{Library, MediaArgs};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient;
use safelight_proto::recognizer::v1::{RecognizeRequest, RecognizeResponse};
use safelight_recognizer::{Config, Recognizer, serve};
use safelight_service::Shutdown;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Whether models and photographs are there. Says loudly that a test is skipped without them; where
/// `CI=true` that is a failure.
pub(crate) fn models_are_there() -> bool {
    let needed = ["models/shape_predictor_5_face_landmarks.dat", "samples/obama.jpg"];
    if needed.iter().all(|file| tools().join(file).exists()) {
        return true;
    }
    let loud = "SKIPPED: no face models and sample photographs, run scripts/fetch-models.sh";
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{loud}");
    // Past the test harness, which keeps what passing tests print to itself; `make test` counts these lines.
    let _ = writeln!(std::io::stderr(), "{loud}");
    false
}

/// Ends a test that cannot run on this machine.
macro_rules! require_models {
    () => {
        if !support::models_are_there() {
            return;
        }
    };
}
pub(crate) use require_models;

pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

pub(crate) fn sample(name: &str) -> PathBuf {
    tools().join("samples").join(name)
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// Folders for a recognizer: pictures, known people, its cache.
pub(crate) struct Place {
    folder: TempDir,
}

/// A recognizer that serves. Stops when dropped.
pub(crate) struct Server {
    pub(crate) recognizer: Recognizer,
    pub(crate) channel: Channel,
    pub(crate) shutdown: Shutdown,
    served: Option<JoinHandle<()>>,
}

// === impl Place ===

impl Place {
    /// With the folders there and nothing in them.
    pub(crate) fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["pictures", "known", "cache"] {
            std::fs::create_dir(place.path(folder)).unwrap();
        }
        place
    }

    /// One in which obama is known by one picture.
    pub(crate) fn knowing_obama() -> Self {
        let place = Self::new();
        place.know("obama.jpg", "obama_1.jpg");
        place
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Copies a sample photograph into the folder of known people, whole from the first moment.
    pub(crate) fn know(&self, sample_name: &str, file_name: &str) {
        let aside = self.path("known/.incoming");
        std::fs::copy(sample(sample_name), &aside).unwrap();
        std::fs::rename(aside, self.path("known").join(file_name)).unwrap();
    }

    /// Puts a picture among those to be recognized and returns its URI.
    pub(crate) fn picture(&self, file_name: &str, bytes: &[u8]) -> String {
        let path = self.path("pictures").join(file_name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn sample(&self, name: &str) -> String {
        self.picture(name, &std::fs::read(sample(name)).unwrap())
    }

    /// One worker, looking at the folder every second, and these flags, each with its value, besides.
    pub(crate) fn config(&self, flags: &[&str]) -> Config {
        let models = tools().join("models");
        let (known, cache) = (self.path("known"), self.path("cache"));
        let defaults = [
            ("--models-dir", models.to_str().unwrap()),
            ("--known-people", known.to_str().unwrap()),
            ("--recognizer-cache", cache.to_str().unwrap()),
            ("--recognizer-workers", "1"),
            ("--known-people-rescan", "1"),
            ("--known-people-poll", "1"),
        ];
        let mut given = vec!["recognizer"];
        for (flag, value) in defaults {
            if !flags.contains(&flag) {
                given.extend([flag, value]);
            }
        }
        given.extend(flags);
        Flags::parse_from(given).config
    }

    pub(crate) fn library(&self) -> Library {
        Library::new(&MediaArgs::with_roots([self.path("pictures")])).unwrap()
    }

    /// Starts a recognizer that may still be loading.
    pub(crate) async fn start_with(&self, flags: &[&str], database: Option<Database>) -> Server {
        let recognizer = Recognizer::start(self.config(flags), self.library(), database).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let (handle, stop) = (recognizer.clone(), shutdown.clone());
        let served = tokio::spawn(async move { serve(listener, handle, None, stop).await.unwrap() });
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        Server {
            recognizer,
            channel,
            shutdown,
            served: Some(served),
        }
    }

    /// Starts a recognizer and waits until it serves.
    pub(crate) async fn start(&self) -> Server {
        let server = self.start_with(&[], None).await;
        server.serving().await;
        server
    }
}

// === impl Server ===

impl Server {
    pub(crate) async fn serving(&self) {
        tokio::time::timeout(DEADLINE, self.recognizer.serving())
            .await
            .unwrap()
            .unwrap();
    }

    /// Waits until it has stopped serving by itself.
    pub(crate) async fn ended(&mut self) {
        let served = self.served.take().unwrap();
        tokio::time::timeout(DEADLINE, served).await.unwrap().unwrap();
    }

    pub(crate) async fn identify(&self, uri: &str) -> Result<String, Status> {
        let mut client = IdentifyClient::new(self.channel.clone());
        let answer = client
            .identify(IdentifyRequest {
                image_path: uri.to_owned(),
            })
            .await?;
        Ok(answer.into_inner().image_name)
    }

    pub(crate) async fn recognize(&self, uri: &str) -> Result<RecognizeResponse, Status> {
        let answer = self
            .client()
            .recognize(RecognizeRequest {
                image_uri: uri.to_owned(),
            })
            .await?;
        Ok(answer.into_inner())
    }

    pub(crate) fn client(&self) -> RecognizerClient<Channel> {
        RecognizerClient::new(self.channel.clone())
    }

    /// The names of the pictures by which people are known.
    pub(crate) fn known_pictures(&self) -> Vec<String> {
        self.recognizer
            .people()
            .into_iter()
            .flat_map(|known| known.image_names)
            .collect()
    }

    /// Waits until exactly these pictures are known.
    pub(crate) async fn knows(&self, pictures: &[&str]) {
        eventually(
            || self.known_pictures() == pictures,
            || format!("{:?}", self.known_pictures()),
        )
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// Waits for a condition that no event tells of, until the deadline.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool, state: impl Fn() -> String) {
    let begun = tokio::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "still {}", state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes calls at the same time, and gives their answers in order.
pub(crate) async fn join_all<T>(calls: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for (call, answer) in &mut calls {
            if answer.is_none() {
                match call.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *answer = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}
