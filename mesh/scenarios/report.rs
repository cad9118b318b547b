//! The report as text.

use std::fmt::Write;

use crate::ledger::Ledger;
use crate::scenario::Scenario;
use crate::server::Load;
use crate::strategy::Strategy;

const PREFACE: &str = include_str!("preface.md");

pub(crate) fn render(scenarios: &[Scenario], ledgers: &[Vec<Ledger>]) -> String {
    let mut text = PREFACE.to_owned();
    for (scenario, ledgers) in scenarios.iter().zip(ledgers) {
        // Writing to a string does not fail.
        section(&mut text, scenario, ledgers).unwrap();
    }
    text
}

fn section(text: &mut String, scenario: &Scenario, ledgers: &[Ledger]) -> std::fmt::Result {
    let (calls, length) = (ledgers[0].calls, scenario.length.as_secs());
    writeln!(text, "\n## `{}`\n\n{}", scenario.name, scenario.story)?;
    writeln!(text, "{calls} calls in {length} s.\n")?;
    writeln!(
        text,
        "| strategy | success % | mean ms | p99 ms | calls a server | peak in flight | busy % |\n\
         | --- | ---: | ---: | ---: | :---: | :---: | :---: |"
    )?;
    for (strategy, ledger) in Strategy::ALL.iter().zip(ledgers) {
        writeln!(
            text,
            "| {} | {:.2} | {:.1} | {} | {} | {} | {} |",
            strategy.name(),
            // Never rounded up to what was not reached.
            (ledger.success() * 100.0).floor() / 100.0,
            ledger.mean.as_secs_f64() * 1e3,
            ledger.p99.as_millis(),
            each(ledger, |load| load.calls.to_string()),
            each(ledger, |load| load.peak.to_string()),
            each(ledger, |load| format!("{:.0}", ledger.busy(load))),
        )?;
    }
    writeln!(text, "\n{}", scenario.lesson)
}

fn each(ledger: &Ledger, figure: impl Fn(&Load) -> String) -> String {
    ledger.loads.iter().map(figure).collect::<Vec<_>>().join(" · ")
}
