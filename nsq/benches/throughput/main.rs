//! `make bench-nsq`: this crate beside the Go client, on one nsqd, in one run.
//!
//! Every measurement is a process of its own, so that its processor time and its memory are its own, and
//! all sides are measured in turn, round by round, so that what else the machine does meets all alike.
//! nsqd keeps every message in memory. Ratios are ours to the Go client's, and each is the median of
//! those of the rounds.
//!
//! The Go program is `benches/go`; it is named by the variable `GO_NSQ_PEER`. Other variables: `ROUNDS`
//! (default 5), `SCALE` (default 1), a factor for the number of messages, and `TABLE` (0 leaves it out).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod report;
mod trial;
mod worker;

use report::{Row, median};
use safelight_testkit::{Nsqd, NsqdOptions};
use trial::{Bench, Cost, Side, Trial, Work};

const SIDES: [Side; 3] = [Side::Ours, Side::GoClient, Side::GoRaw];
const WORKS: [Work; 3] = [Work::Publish, Work::MultiPublish, Work::Consume];
const SIZES: [usize; 7] = [256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// What each size of the table moves, all its messages together.
const TABLE_BYTES: usize = 64 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "worker") {
        return worker::main(&arguments[1..]);
    }
    // `cargo bench --workspace` comes along here, too.
    let Some(go_program) = std::env::var_os("GO_NSQ_PEER") else {
        println!("nsq: not measured; `make bench-nsq` does it");
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let flags = ["--mem-queue-size=4000000", "--log-level=error"];
        let nsqd = Nsqd::start(NsqdOptions {
            flags: flags.map(str::to_owned).to_vec(),
            ..NsqdOptions::default()
        })
        .await;
        let mut bench = Bench::new(nsqd, go_program.into());
        if variable("TABLE") != Some(0.0) {
            print_table(&mut bench).await;
        }
        print_verdict(&mut bench).await;
    });
}

/// Sizes from 256 B to 1 MiB, one round.
async fn print_table(bench: &mut Bench) {
    report::print_head("by size, 100 in flight to publish and 1000 to consume");
    for work in [Work::Publish, Work::Consume] {
        for size in SIZES {
            let count = scaled(TABLE_BYTES / size).min(scaled(50_000));
            for side in SIDES {
                let trial = Trial { work, size, count };
                let cost = bench.run(side, trial).await;
                report::print_row(Row { side, trial, cost });
            }
        }
    }
}

/// The figures that count, and their ratios.
async fn print_verdict(bench: &mut Bench) {
    let rounds = variable("ROUNDS").unwrap_or(5.0) as usize;
    report::print_head(&format!("medians of {rounds} rounds"));
    let mut rates = Vec::new();
    let mut cpus = Vec::new();
    for work in WORKS {
        let size = 200;
        let count = scaled(work.count());
        let trial = Trial { work, size, count };
        let mut costs: [Vec<Cost>; 3] = Default::default();
        for _ in 0..rounds {
            for (side, costs) in SIDES.into_iter().zip(&mut costs) {
                costs.push(bench.run(side, trial).await);
            }
        }
        for (side, costs) in SIDES.into_iter().zip(&costs) {
            let cost = Cost::median(costs);
            report::print_row(Row { side, trial, cost });
        }
        let [ours, client, _] = &costs;
        let pairs = || ours.iter().zip(client);
        rates.push(median(pairs().map(|(ours, client)| ours.rate / client.rate)));
        cpus.push(median(
            pairs().map(|(ours, client)| ours.cpu_of_million / client.cpu_of_million),
        ));
    }
    println!();
    for (work, cpu) in WORKS.iter().zip(&cpus) {
        println!("nsq_{}_cpu_ratio {cpu:.2} ratio", work.name());
    }
    let worst_cpu = cpus.into_iter().fold(0.0, f64::max);
    println!(
        "nsq: publish_ratio {:.2} mpub_ratio {:.2} consume_ratio {:.2} cpu_ratio {worst_cpu:.2}",
        rates[0], rates[1], rates[2]
    );
}

fn scaled(count: usize) -> usize {
    let batch = trial::BATCH;
    let count = (count as f64 * variable("SCALE").unwrap_or(1.0)) as usize;
    // Whole batches, so that every side sends the same number of messages.
    count.div_ceil(batch).max(1) * batch
}

fn variable(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}
