//! Two processors on one queue share the work, and no image is worked on twice at once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use safelight_proto::facerecog::health_check_server::{HealthCheck, HealthCheckServer};
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{Empty, HealthCheckResponse, IdentifyRequest, IdentifyResponse};
use safelight_tests::{Client, Service, Stack, photographs};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const IMAGES: usize = 160;

/// How long the work on an image takes, on other cores than these.
const WORK: Duration = Duration::from_millis(100);

/// A recognizer that does nothing, as long as it takes.
#[derive(Clone, Default)]
struct Elsewhere {
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    running: HashSet<String>,
    most_running: usize,
    /// How often an image came while it was worked on already.
    twice_at_once: usize,
    calls: HashMap<String, usize>,
}

#[tonic::async_trait]
impl Identify for Elsewhere {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let path = request.into_inner().image_path;
        {
            let mut log = self.log.lock().unwrap();
            *log.calls.entry(path.clone()).or_default() += 1;
            log.twice_at_once += usize::from(!log.running.insert(path.clone()));
            log.most_running = log.most_running.max(log.running.len());
        }
        tokio::time::sleep(WORK).await;
        self.log.lock().unwrap().running.remove(&path);
        Ok(Response::new(IdentifyResponse {
            image_name: "not_found".to_owned(),
        }))
    }
}

#[tonic::async_trait]
impl HealthCheck for Elsewhere {
    async fn health_check(&self, _: Request<Empty>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(HealthCheckResponse { ready: true }))
    }
}

impl Elsewhere {
    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(IdentifyServer::new(self.clone()))
            .add_service(HealthCheckServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// The most images in work at once, since the last time.
    fn most_running(&self) -> usize {
        std::mem::take(&mut self.log.lock().unwrap().most_running)
    }
}

/// Posts images in bulk, and waits until they are processed; how long that took.
async fn work_off(client: &Client, paths: &[String]) -> Duration {
    let begun = Instant::now();
    let entries = client.post_all(paths).await;
    let ids: Vec<i64> = entries
        .iter()
        .map(|entry| entry["id"].as_i64().unwrap())
        .collect();
    let all = client.wait_until_final(&ids, Duration::from_secs(120)).await;
    assert!(ids.iter().all(|id| all[id].status == "processed"));
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processors_have_twice_as_much_in_work_and_nothing_of_it_twice() {
    if photographs::samples().is_none() {
        return;
    }
    safelight_testkit::require_nsq!();
    let elsewhere = Elsewhere::default();
    let address = elsewhere.serve().await;
    let stack = Stack::builder()
        .processor("GRPC_ADDRESS", address)
        .processor("RECOGNIZER_API", "facerecog")
        .start()
        .await;
    let client = stack.client();
    let paths = photographs::empty_pictures(&stack.media(), 2 * IMAGES);
    let (first, second) = paths.split_at(IMAGES);

    let alone = work_off(&client, first).await;
    let hands = elsewhere.most_running();
    let mut other: Service = stack.another_processor();
    other.start();
    other.ready().await;
    let together = work_off(&client, second).await;

    let ratio = alone.as_secs_f64() / together.as_secs_f64();
    eprintln!("one processor {alone:.2?}, two {together:.2?}, ratio {ratio:.2}");
    assert_eq!(elsewhere.most_running(), 2 * hands, "both have their hands full");
    let log = elsewhere.log.lock().unwrap();
    assert_eq!(log.twice_at_once, 0);
    assert_eq!(log.calls.len(), 2 * IMAGES);
    assert!(
        log.calls.values().all(|calls| *calls == 1),
        "each is worked on once"
    );
}
