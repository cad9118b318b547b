//! Endpoints that come and go by their name, under load.

use std::time::Duration;

use safelight_mesh::{DiscoverySettings, Probe, Target};

use crate::dns::DnsServer;
use crate::faults::ALONE;
use crate::load::{Load, hasty, methods, ready};
use crate::server::{Running, Server};

/// Servers at one port of several addresses of loopback, as the pods of a headless service are.
async fn pods(count: u8) -> Vec<Running> {
    for _ in 0..50 {
        let mut running = vec![Server::new().start().await];
        let port = running[0].server.address.port();
        for last in 2..=count {
            let mut server = Server::new();
            server.address = format!("127.0.0.{last}:{port}").parse().unwrap();
            match server.try_start().await {
                Ok(started) => running.push(started),
                Err(_) => break,
            }
        }
        if running.len() == usize::from(count) {
            return running;
        }
    }
    panic!("no port is free at {count} addresses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_that_are_added_and_removed_under_load_fail_no_call() {
    let _alone = ALONE.lock().await;
    let dns = DnsServer::start().await;
    let pods = pods(4).await;
    let port = pods[0].server.address.port();
    dns.set("faces.test", &["127.0.0.1"]);
    let address = format!("dns://{}/faces.test:{port}", dns.address());
    let target = Target::builder("recognizer", address)
        .settings(hasty())
        .probe(Probe::FaceRecog)
        .methods(methods())
        .discovery(DiscoverySettings {
            interval: Duration::from_millis(200),
            least: Duration::from_millis(50),
            ..DiscoverySettings::default()
        })
        .connect()
        .unwrap();
    ready(&target, 1).await;
    let load = Load::start(&target, 12);
    let names = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"];
    for here in [
        &names[0..3],
        &names[1..4],
        &names[3..4],
        &names[0..4],
        &names[1..2],
        &names[0..3],
    ] {
        dns.set("faces.test", here);
        ready(&target, here.len()).await;
        let before: Vec<usize> = pods.iter().map(|pod| pod.server.calls()).collect();
        load.for_a(Duration::from_millis(400)).await;
        for (pod, before) in pods.iter().zip(before) {
            let ip = pod.server.address.ip().to_string();
            let served = pod.server.calls() - before;
            if here.contains(&&*ip) {
                assert!(served > 0, "{ip} is there and gets no call");
            }
        }
    }
    let calls = load.end();
    let failed: Vec<_> = calls.iter().filter_map(|call| call.error.as_ref()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        calls.len(),
        failed[0]
    );
    assert!(calls.len() > 500, "{} calls", calls.len());
}
