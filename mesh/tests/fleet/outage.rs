//! All endpoints are gone, or all calls fail; and endpoints that come and go in good order.

use std::time::{Duration, Instant};

use safelight_mesh::{CallFailure, Settings, failure_of};

use crate::faults::ALONE;
use crate::load::{Load, all_of, hasty, identify, ready, target};
use crate::server::{Manner, Server};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_gone_calls_fail_at_once_and_the_first_that_is_back_is_found_within_a_probe_interval() {
    let _alone = ALONE.lock().await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(Server::new().start().await);
    }
    let address = all_of(running.iter().map(|running| running.server.address));
    let settings = hasty();
    let target = target(&address, settings.clone());
    ready(&target, 3).await;
    let channel = target.channel();
    identify(&channel).await.unwrap();
    let mut servers: Vec<Server> = running.into_iter().map(|running| running.kill()).collect();
    let mut available = target.availability();
    available.wait_for(|now| !now.is_available()).await.unwrap();

    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        let status = identify(&channel).await.unwrap_err();
        took.push(begun.elapsed());
        assert_eq!(failure_of(&status), CallFailure::NotSent, "{status:?}");
    }
    took.sort();
    assert!(took[198] < Duration::from_millis(5), "{:?}", &took[190..]);

    let probes = servers[0].probes();
    let back_at = Instant::now();
    let back = servers.remove(0).start().await;
    available.wait_for(|now| now.is_available()).await.unwrap();
    identify(&channel).await.unwrap();
    let waited = back_at.elapsed();
    assert!(
        waited <= settings.probe_interval + Duration::from_millis(100),
        "{waited:?} from its start to the first success"
    );
    assert!(
        back.server.probes() - probes <= 2,
        "{} probes",
        back.server.probes() - probes
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_every_call_failing_the_servers_see_at_most_a_fifth_more_than_the_callers_make() {
    let _alone = ALONE.lock().await;
    let mut running = Vec::new();
    for _ in 0..3 {
        let started = Server::new().start().await;
        started.server.manner.send_replace(Manner::Unavailable);
        running.push(started);
    }
    let address = all_of(running.iter().map(|running| running.server.address));
    // No circuit gets in the way of the retries.
    let settings = Settings {
        consecutive_failures: u32::MAX,
        retry_floor: 0.1,
        ..hasty()
    };
    let target = target(&address, settings);
    ready(&target, 3).await;
    let channel = target.channel();
    let mut calls = 0;
    for _ in 0..1_000 {
        identify(&channel).await.unwrap_err();
        calls += 1;
    }
    let seen: usize = running.iter().map(|running| running.server.calls()).sum();
    assert!(seen * 10 <= calls * 12, "{seen} tries of {calls} calls");
    assert!(
        seen * 100 >= calls * 115,
        "{seen} tries of {calls} calls: nothing was tried again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_three_servers_fails_no_call() {
    let _alone = ALONE.lock().await;
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(Server::new().start().await);
    }
    let address = all_of(running.iter().map(|running| running.server.address));
    let target = target(&address, hasty());
    ready(&target, 3).await;
    let load = Load::start(&target, 12);
    for server in &mut running {
        load.for_a(Duration::from_millis(300)).await;
        server.stop();
        load.for_a(Duration::from_millis(300)).await;
        *server = server.server.clone().start().await;
        ready(&target, 3).await;
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
}
