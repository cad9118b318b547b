//! Down is not failed: a consumer of a queue that takes no work while the service is away. The server starts late,
//! says that it is not ready, is killed in the middle of calls and comes back; every job is done in the end.
//!
//! ```text
//! cargo run -p safelight-mesh --example health_probe
//! ```
//!
//! It ends with an error unless all jobs are done and at most the ones that were under way had to be done again.

mod support;

use std::collections::VecDeque;
use std::error::Error;
use std::time::Duration;

use safelight_mesh::{CallFailure, MeshChannel, Probe, Settings, Target, failure_of};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::Code;

use support::claim;
use support::recognizer::Recognizer;
use support::story::Story;

const JOBS: usize = 120;
/// What the consumer does between two jobs.
const PAUSE: Duration = Duration::from_millis(20);

/// What the consumer has done.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    done: usize,
    /// Put back, because the service was away.
    put_back: usize,
    /// Given up, because the service said something against the job.
    failed: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let story = Story::begin();
    let mut anna = Recognizer::new("anna").await?;
    let target = Target::builder("recognizer", format!("http://{}", anna.address))
        .settings(Settings {
            probe_interval: Duration::from_millis(250),
            ..Settings::default()
        })
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .connect()?;
    story.follow(&target);
    let (teller, mut progress) = watch::channel(Progress::default());
    let consumer = tokio::spawn(consume(story, target.clone(), teller));

    story.tell("a consumer has work, and there is no server yet");
    sleep(Duration::from_millis(500)).await;

    story.tell("the server starts; it loads its models, and is not ready");
    anna.say_ready(false);
    anna.start().await?;
    sleep(Duration::from_millis(750)).await;
    let before = *progress.borrow();
    claim(before.done == 0, "a server that is not ready gets no call")?;

    story.tell("it is ready");
    anna.say_ready(true);
    progress.wait_for(|now| now.done >= JOBS / 3).await?;

    story.tell("it says that it is not ready, and nobody has to call it to find out");
    anna.say_ready(false);
    sleep(Duration::from_millis(750)).await;
    anna.say_ready(true);
    progress.wait_for(|now| now.done >= 2 * JOBS / 3).await?;

    story.tell("it is killed while it is at a job");
    anna.is_called().await;
    anna.kill();
    sleep(Duration::from_millis(1_000)).await;
    let away = *progress.borrow();
    sleep(Duration::from_millis(500)).await;
    claim(
        progress.borrow().put_back == away.put_back,
        "while the server is away no job is taken",
    )?;

    story.tell("it is back");
    anna.start().await?;
    consumer.await?;
    let end = *progress.borrow();
    story.tell(format_args!(
        "{} jobs are done, {} were put back and done later, {} failed",
        end.done, end.put_back, end.failed
    ));
    claim(
        end.done == JOBS && end.failed == 0,
        "every job is done, none has failed",
    )?;
    claim(end.put_back <= 3, "only what was under way was put back")
}

/// Takes jobs while the target is available, and puts those back that met an outage.
async fn consume(story: Story, target: Target, teller: watch::Sender<Progress>) {
    let mut jobs: VecDeque<usize> = (1..=JOBS).collect();
    let mut availability = target.availability();
    let mut client = IdentifyClient::new(target.channel());
    while let Some(job) = jobs.pop_front() {
        if availability.wait_for(|now| now.is_available()).await.is_err() {
            return;
        }
        match identify(&mut client, job).await {
            Ok(()) => teller.send_modify(|now| now.done += 1),
            Err(status) => match failure_of(&status) {
                CallFailure::Answered(code @ (Code::InvalidArgument | Code::NotFound)) => {
                    story.tell(format_args!("job {job} failed: {code:?}"));
                    teller.send_modify(|now| now.failed += 1);
                }
                // Not sent, broken, timed out, overloaded, ill: that is not the job's fault.
                outage => {
                    story.tell(format_args!(
                        "job {job} is put back, {outage:?}: {}",
                        status.message()
                    ));
                    jobs.push_back(job);
                    teller.send_modify(|now| now.put_back += 1);
                }
            },
        }
        sleep(PAUSE).await;
    }
}

async fn identify(client: &mut IdentifyClient<MeshChannel>, job: usize) -> Result<(), tonic::Status> {
    let request = IdentifyRequest {
        image_path: format!("photograph_{job}.jpg"),
    };
    client.identify(request).await.map(drop)
}
