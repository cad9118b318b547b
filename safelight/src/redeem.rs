//! `safelight redeem`: puts failed tasks back whose reason is one that time may heal.

mod groups;

use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use safelight_database::{Database, DatabaseArgs, Error, RedeemQuery, TaskKind};
use safelight_service::configuration_error;

use crate::span;
use groups::{Groups, Report};

/// What a task can have failed of.
const FAULTS: [&str; 7] = [
    "bad",
    "limit",
    "crashed",
    "timeout",
    "storage",
    "internal",
    RedeemQuery::UNKNOWN,
];

/// Which tasks are put back, and how. It exits with 0 where it did what it was asked for, also where there was nothing
/// to do; with 1 where the database was away, and may then be run again; with 78 where an argument is wrong.
#[derive(Args, Debug)]
pub(crate) struct RedeemArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// only tasks with this text in their reason, whatever the case of its letters; the only way besides
    /// `--fault unknown` to tasks that failed before faults were written down
    #[arg(long)]
    reason: Option<String>,
    /// only tasks that failed of one of these: bad, limit, crashed, timeout, storage, internal, unknown
    #[arg(long, value_delimiter = ',', default_value = "timeout,storage,internal", value_parser = PossibleValuesParser::new(FAULTS))]
    fault: Vec<String>,
    /// only tasks that failed this long ago or longer, such as 90s, 10m, 2h or 1d
    #[arg(long, default_value = "10m", value_parser = span::parse)]
    older: Duration,
    /// only tasks that failed not longer ago than this
    #[arg(long, default_value = "7d", value_parser = span::parse)]
    younger: Duration,
    /// only tasks of these kinds: identify, prepare, thumbnail, frame, gif
    #[arg(long, value_delimiter = ',', value_parser = task_kind)]
    kind: Vec<TaskKind>,
    /// how many tasks at most, 1 to 1000000
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// show what would be put back, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// tell once more of the jobs that tasks are put back of, when these have ended
    #[arg(long)]
    notify: bool,
    /// print one JSON object in the place of the table
    #[arg(long)]
    json: bool,
}

/// Puts back what the arguments ask for. Doing it again, or at several places at once, puts each task back once.
pub(crate) async fn run(arguments: RedeemArgs) -> anyhow::Result<()> {
    if arguments.older > arguments.younger {
        configuration_error("--older is longer than --younger: no task is both older and younger");
    }
    let begun = Instant::now();
    let report = match redeem(&arguments).await {
        Ok(report) => report,
        Err(Error::Invalid(reason)) => configuration_error(reason),
        Err(error) => {
            return Err(error)
                .context("not all tasks were put back; running it again goes on with the others");
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", groups::table(&report));
        println!("{}", groups::last_line(&report, begun.elapsed()));
    }
    Ok(())
}

async fn redeem(arguments: &RedeemArgs) -> Result<Report, Error> {
    let database: Database = arguments.database.open().await?;
    database.ping().await?;
    let tasks = database.tasks();
    let query = RedeemQuery {
        kinds: arguments.kind.clone(),
        faults: arguments.fault.clone(),
        reason: arguments.reason.clone(),
        older: arguments.older,
        younger: arguments.younger,
    };

    let mut groups = Groups::default();
    let mut reopened = 0;
    let mut position = Some(query.start());
    while let Some(at) = position.take() {
        let mut page = tasks.failed(&query, &at).await?;
        let left = usize::try_from(arguments.limit - groups.tasks()).unwrap_or(usize::MAX);
        page.tasks.truncate(left);
        if arguments.dry_run {
            groups.add(&page.tasks);
        } else {
            let redeemed = tasks.redeem(&query, &page.tasks, arguments.notify).await?;
            groups.add(&redeemed.tasks);
            reopened += redeemed.reopened;
        }
        if groups.tasks() < arguments.limit {
            position = page.next;
        }
    }
    let limit_reached = groups.tasks() == arguments.limit;
    Ok(groups.into_report(arguments.dry_run, reopened, limit_reached))
}

fn task_kind(name: &str) -> Result<TaskKind, String> {
    let known = TaskKind::ALL.into_iter().find(|kind| kind.as_str() == name);
    known.ok_or_else(|| {
        let names: Vec<&str> = TaskKind::ALL.iter().map(|kind| kind.as_str()).collect();
        format!("there are {}", names.join(", "))
    })
}
