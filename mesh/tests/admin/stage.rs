//! Servers, a target of them, and waiting for what is to come.

use std::time::{Duration, Instant};

use safelight_mesh::{EndpointSnapshot, Settings, Snapshot, Target};
use tonic::{Code, Status};

use crate::load::{all_of, hasty, identify, ready, target};
use crate::server::{Running, Server};

pub(crate) struct Stage {
    pub(crate) running: Vec<Running>,
    pub(crate) target: Target,
}

/// Settings by which nothing but an order or hard evidence opens a circuit, and every retry has room.
pub(crate) fn patient() -> Settings {
    Settings {
        consecutive_failures: 1_000_000,
        retry_floor: 10_000.0,
        ramp: Duration::from_millis(1),
        ..hasty()
    }
}

// === impl Stage ===

impl Stage {
    /// So many servers, and a target of them that all are ready for.
    pub(crate) async fn of(servers: usize, settings: Settings) -> Self {
        let mut running = Vec::new();
        for _ in 0..servers {
            running.push(Server::new().start().await);
        }
        let addresses = running.iter().map(|running| running.server.address);
        let target = target(&all_of(addresses), settings);
        ready(&target, servers).await;
        Self { running, target }
    }

    pub(crate) fn address(&self, server: usize) -> String {
        self.running[server].server.address.to_string()
    }

    pub(crate) fn endpoint(&self, server: usize) -> EndpointSnapshot {
        endpoint(&self.target.snapshot(), &self.address(server))
    }

    /// Calls that the server has seen.
    pub(crate) fn calls(&self, server: usize) -> usize {
        self.running[server].server.calls()
    }

    /// Calls one after the other; how many there were of each code.
    pub(crate) async fn call(&self, calls: usize) -> Vec<Result<(), Status>> {
        let channel = self.target.channel();
        let mut results = Vec::new();
        for _ in 0..calls {
            results.push(identify(&channel).await.map(drop));
        }
        results
    }
}

pub(crate) fn endpoint(snapshot: &Snapshot, address: &str) -> EndpointSnapshot {
    let mut endpoints = snapshot.endpoints.iter();
    let endpoint = endpoints.find(|endpoint| endpoint.endpoint == address);
    endpoint
        .unwrap_or_else(|| panic!("no {address} in {snapshot:#?}"))
        .clone()
}

pub(crate) fn codes(results: &[Result<(), Status>]) -> Vec<Code> {
    let code = |result: &Result<(), Status>| result.as_ref().err().map_or(Code::Ok, Status::code);
    results.iter().map(code).collect()
}

/// Looks until it is so, and gives what was found.
pub(crate) async fn until<T: std::fmt::Debug>(look: impl Fn() -> T, so: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let found = look();
        if so(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "still {found:#?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
