//! A steady load of calls, and what became of them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use safelight_mesh::{MeshChannel, Methods, Probe, Settings, Target};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::task::JoinSet;
use tonic::Status;

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    pub(crate) error: Option<Status>,
}

/// Callers that call one after the other until they are dropped.
pub(crate) struct Load {
    calls: Arc<Mutex<Vec<Call>>>,
    callers: JoinSet<()>,
}

pub(crate) async fn identify(channel: &MeshChannel) -> Result<String, Status> {
    let request = IdentifyRequest {
        image_path: "obama.jpg".to_owned(),
    };
    let response = IdentifyClient::new(channel.clone()).identify(request).await?;
    Ok(response.into_inner().image_name)
}

/// Settings by which a test need not wait long.
pub(crate) fn hasty() -> Settings {
    Settings {
        open_first: Duration::from_millis(200),
        open_longest: Duration::from_secs(1),
        deadline: Duration::from_secs(4),
        probe_interval: Duration::from_millis(200),
        probe_timeout: Duration::from_millis(300),
        ..Settings::default()
    }
}

pub(crate) fn methods() -> Methods {
    Methods::default()
        .descriptor_set(safelight_proto::FILE_DESCRIPTOR_SET)
        .unwrap()
}

pub(crate) fn target(address: &str, settings: Settings) -> Target {
    Target::builder("recognizer", address)
        .settings(settings)
        .probe(Probe::FaceRecog)
        .methods(methods())
        .connect()
        .unwrap()
}

pub(crate) fn all_of(addresses: impl IntoIterator<Item = std::net::SocketAddr>) -> String {
    let addresses: Vec<_> = addresses.into_iter().map(|address| address.to_string()).collect();
    format!("static:///{}", addresses.join(","))
}

/// Waits until so many endpoints take calls.
pub(crate) async fn ready(target: &Target, endpoints: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = target.snapshot();
        let ready = snapshot
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.standing == "ready")
            .count();
        if ready == endpoints {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{ready} of {endpoints} are ready: {snapshot:#?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Load {
    pub(crate) fn start(target: &Target, callers: usize) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let mut set = JoinSet::new();
        for _ in 0..callers {
            let (channel, calls) = (target.channel(), calls.clone());
            set.spawn(async move {
                loop {
                    let begun = Instant::now();
                    let error = identify(&channel).await.err();
                    let refused = error.is_some();
                    let took = begun.elapsed();
                    calls.lock().unwrap().push(Call { begun, took, error });
                    if refused {
                        // A caller that is refused at once does not call again at once.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        Self { calls, callers: set }
    }

    pub(crate) async fn for_a(&self, time: Duration) -> Instant {
        let begun = Instant::now();
        tokio::time::sleep(time).await;
        begun
    }

    /// Stops it and gives all calls that have ended.
    pub(crate) fn end(mut self) -> Vec<Call> {
        self.callers.abort_all();
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

pub(crate) fn between(calls: &[Call], from: Instant, to: Instant) -> Vec<Call> {
    calls
        .iter()
        .filter(|call| call.begun >= from && call.begun < to)
        .cloned()
        .collect()
}

pub(crate) fn p99(calls: &[Call]) -> Duration {
    let mut took: Vec<_> = calls.iter().map(|call| call.took).collect();
    took.sort();
    took[(took.len() * 99 / 100).min(took.len() - 1)]
}
