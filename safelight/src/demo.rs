//! `safelight demo`: real photographs, recognized before your eyes.

mod photographs;
mod table;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use safelight_proto::recognizer::v1::EnrollPersonRequest;
use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient;
use serde::Deserialize;
use serde_json::json;

use crate::up::{self, Everything, UpArgs};
use photographs::Photograph;

/// How long the demo waits for its pictures before it says that something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the demo can be told.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// the folder of the sample photographs
    #[arg(long, env = "DEMO_SAMPLES", default_value = ".tools/samples")]
    samples: PathBuf,
    /// stop after the table instead of serving until Ctrl-C (1 or true)
    #[arg(long = "exit", env = "DEMO_EXIT", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    exit: bool,
    #[command(flatten)]
    up: UpArgs,
}

/// An image as the receiver tells of it.
#[derive(Debug, Deserialize)]
struct Record {
    id: i64,
    status: String,
    reason: Option<String>,
    #[serde(default)]
    people: Vec<String>,
    distance: Option<f64>,
    duration_ms: Option<i64>,
}

impl Record {
    fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "processed" | "failed")
    }
}

/// Runs the demo. Fails where not exactly the right people were found.
pub(crate) async fn run(arguments: DemoArgs) -> anyhow::Result<()> {
    let DemoArgs { samples, exit, up } = arguments;
    let samples = std::path::absolute(&samples)?;
    ensure!(
        samples.is_dir(),
        "no sample photographs in {}; run scripts/fetch-models.sh",
        samples.display()
    );
    let everything = up::start(up.with_media_root(samples.clone()).on_free_ports()).await?;
    let shown = show(&everything, &samples).await;
    if shown.is_ok() && !exit {
        println!("\nThe page: {}    (Ctrl-C ends it)", everything.page());
        everything.wait().await?;
    } else {
        everything.stop().await?;
    }
    let summary = shown?;
    println!("{}", summary.line);
    ensure!(summary.right, "not exactly the right people were found");
    Ok(())
}

struct Summary {
    line: String,
    right: bool,
}

async fn show(everything: &Everything, samples: &std::path::Path) -> anyhow::Result<Summary> {
    enroll(everything, samples).await?;
    let begun = Instant::now();
    let receiver = everything.receiver();
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()?;
    let mut posted = Vec::new();
    for photograph in photographs::posted() {
        let path = samples.join(photograph.file);
        println!(
            "curl -d '{{\"path\":\"{}\"}}' {receiver}/image/post",
            path.display()
        );
        let answer = http
            .post(format!("{receiver}/image/post"))
            .body(json!({ "path": path }).to_string())
            .send()
            .await?;
        let status = answer.status();
        let body = answer.text().await?;
        ensure!(status.is_success(), "the receiver answered {status}: {body}");
        posted.push((photograph, serde_json::from_str::<Record>(&body)?.id));
    }
    let rows = wait(&http, &receiver, posted).await?;
    print!("\n{}", table::render(&rows));
    let took = begun.elapsed().as_secs_f64();
    let failed = rows
        .iter()
        .filter(|(_, record)| record.status == "failed")
        .count();
    let line = format!(
        "demo: {} images, {} processed, {failed} failed, {took:.1} s",
        rows.len(),
        rows.len() - failed
    );
    let right = rows
        .iter()
        .all(|(photograph, record)| record.status == "processed" && record.people == photograph.people);
    Ok(Summary { line, right })
}

async fn enroll(everything: &Everything, samples: &std::path::Path) -> anyhow::Result<()> {
    let mut recognizer = RecognizerClient::new(everything.recognizer(PATIENCE).await?);
    for (person, file) in photographs::KNOWN {
        let uri = samples.join(file).display().to_string();
        println!("known: {person} ({file})");
        let request = EnrollPersonRequest {
            person_name: person.to_owned(),
            image_uri: uri,
        };
        recognizer
            .enroll_person(request)
            .await
            .with_context(|| format!("cannot enroll {person} from {file}"))?;
    }
    Ok(())
}

async fn wait(
    http: &reqwest::Client,
    receiver: &str,
    posted: Vec<(&'static Photograph, i64)>,
) -> anyhow::Result<Vec<(&'static Photograph, Record)>> {
    let bar = ProgressBar::new(posted.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}")?);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let give_up = Instant::now() + PATIENCE;
    let mut rows = Vec::new();
    for (photograph, id) in posted {
        bar.set_message(photograph.file);
        let record = loop {
            let record: Record = http
                .get(format!("{receiver}/images/{id}"))
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            if record.is_final() {
                break record;
            }
            if Instant::now() > give_up {
                bail!(
                    "{} is still {} after {} s",
                    photograph.file,
                    record.status,
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        };
        rows.push((photograph, record));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(rows)
}
