//! Named troubles in virtual time, and how clients of several makes come through them.
//!
//! The result is `report.md` beside this file. `make scenarios` writes it anew; without that, the test here fails
//! when the report is not what the code does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ledger;
mod network;
mod report;
mod run;
mod scenario;
mod scripts;
mod server;
mod strategy;
mod tonic_link;

use std::path::Path;

use run::{run, run_all};
use strategy::Strategy;

#[test]
fn the_report_is_what_the_code_does() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/report.md");
    let scenarios = scripts::all();
    let now = report::render(&scenarios, &run_all(&scenarios));
    if std::env::var_os("RENEW_SCENARIOS").is_some() {
        std::fs::write(&file, &now).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    if kept == now {
        return;
    }
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (kept, now) = (lines(&kept), lines(&now));
    for line in kept.iter().filter(|line| !now.contains(line)) {
        println!("- {line}");
    }
    for line in now.iter().filter(|line| !kept.contains(line)) {
        println!("+ {line}");
    }
    panic!(
        "the clients no longer do what scenarios/report.md says; `make scenarios` renews it, look at its changes"
    );
}

#[test]
fn the_same_scenario_twice_gives_the_same_figures() {
    let scenarios = scripts::all();
    // The one in which calls, pings and probes are late together.
    let scenario = scenarios
        .iter()
        .find(|scenario| scenario.name == "black_hole")
        .unwrap();
    for strategy in Strategy::ALL {
        let (first, second) = (run(scenario, strategy), run(scenario, strategy));
        assert_eq!(first, second, "{}", strategy.name());
    }
}
