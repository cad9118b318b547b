//! A service's HTTP port with targets on it.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use safelight_mesh::{Settings, Target};
use safelight_service::{MeshAdmin, MeshAdminArgs, Readiness, Shutdown, ops_router, serve};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::load::{all_of, hasty, ready, target};
use crate::server::{Running, Server};

pub(crate) const NOTHING: MeshAdminArgs = MeshAdminArgs {
    admin: false,
    faults: false,
};
pub(crate) const EVERYTHING: MeshAdminArgs = MeshAdminArgs {
    admin: true,
    faults: true,
};

/// The page, the target `recognizer` that it shows, and the target's servers.
pub(crate) struct Page {
    pub(crate) running: Vec<Running>,
    pub(crate) target: Target,
    address: String,
    client: reqwest::Client,
    shutdown: Shutdown,
}

// === impl Page ===

impl Page {
    pub(crate) async fn of(servers: usize, allowed: MeshAdminArgs) -> Self {
        let mut running = Vec::new();
        for _ in 0..servers {
            running.push(Server::new().start().await);
        }
        let addresses = running.iter().map(|running| running.server.address);
        let settings = Settings {
            tries: 1,
            consecutive_failures: 1_000_000,
            ..hasty()
        };
        let target = target(&all_of(addresses), settings);
        ready(&target, servers).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = Shutdown::new();
        let mesh = MeshAdmin::new(allowed);
        let router = ops_router(Readiness::new(shutdown.clone()), &mesh);
        tokio::spawn(serve(listener, router, shutdown.clone()));
        mesh.show(target.clone());
        Self {
            running,
            target,
            address,
            client: reqwest::Client::new(),
            shutdown,
        }
    }

    pub(crate) fn endpoint(&self, server: usize) -> String {
        self.running[server].server.address.to_string()
    }

    pub(crate) fn calls(&self, server: usize) -> usize {
        self.running[server].server.calls()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Response {
        let request = self.request(Method::POST, path).body(body.to_owned());
        request.send().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Response {
        let request = self.request(Method::PUT, path).body(body.to_string());
        request.send().await.unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

pub(crate) async fn json(response: Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/json");
    response.json().await.unwrap()
}

/// The detail of a problem of this kind.
pub(crate) async fn problem(response: Response, status: StatusCode, kind: &str) -> String {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(
        problem["type"],
        format!("urn:safelight:problem:{kind}"),
        "{problem}"
    );
    assert_eq!(problem["status"], status.as_u16());
    problem["detail"].as_str().unwrap().to_owned()
}

pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "not in ten seconds: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
