//! One of three servers dies: first its port refuses connections, then something takes its connections and never
//! answers. The same calls go through tonic's balanced channel and through a target, side by side.
//!
//! ```text
//! cargo run -p safelight-mesh --example one_dead_of_three
//! ```
//!
//! It ends with an error unless every call through the target was answered.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use safelight_mesh::{MeshChannel, Probe, Settings, Target};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use support::recognizer::{Recognizer, addresses, recognizers};
use support::story::Story;
use support::{claim, methods, ready};

/// What a call may take.
const PATIENCE: Duration = Duration::from_millis(400);
const CALLERS: usize = 10;
const CALLS_EACH: usize = 20;
/// What a caller does between two calls.
const PAUSE: Duration = Duration::from_millis(10);

/// A client by one way or the other.
#[derive(Clone)]
enum Client {
    Tonic(IdentifyClient<Channel>),
    Mesh(IdentifyClient<MeshChannel>),
}

/// What became of the calls of one round.
#[derive(Default)]
struct Tally {
    answered: usize,
    failed: usize,
    reasons: BTreeMap<String, usize>,
    longest: Duration,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let story = Story::begin();
    let mut servers = recognizers(["anna", "berta", "clara"]).await?;

    let target = Target::builder("recognizer", addresses(&servers))
        .settings(Settings {
            deadline: PATIENCE,
            ..Settings::default()
        })
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .methods(methods()?)
        .connect()?;
    ready(&target, 3).await?;

    let endpoints: Vec<Endpoint> = servers
        .iter()
        .map(|server| Ok(Endpoint::from_shared(format!("http://{}", server.address))?.timeout(PATIENCE)))
        .collect::<Result<_, tonic::transport::Error>>()?;
    let tonic = Client::Tonic(IdentifyClient::new(Channel::balance_list(endpoints.into_iter())));
    let mesh = Client::Mesh(IdentifyClient::new(target.channel()));

    story.tell("three servers are well");
    let both = |tonic: Tally, mesh: Tally| {
        story.tell(format_args!("  tonic's balance_list: {tonic}"));
        story.tell(format_args!("  the target:           {mesh}"));
        all_answered(&mesh)
    };
    let (by_tonic, by_mesh) = tokio::join!(round(&tonic), round(&mesh));
    both(by_tonic, by_mesh)?;

    story.tell("clara is killed, in the middle of calls; her port refuses connections");
    let killed = async {
        sleep(Duration::from_millis(100)).await;
        servers[2].is_called().await;
        servers[2].kill();
    };
    let (by_tonic, by_mesh, ()) = tokio::join!(round(&tonic), round(&mesh), killed);
    both(by_tonic, by_mesh)?;
    tell_why(story, &target);

    story.tell("something listens in her place, and never answers");
    let silent = servers[2].fall_silent()?;
    let (by_tonic, by_mesh) = tokio::join!(round(&tonic), round(&mesh));
    both(by_tonic, by_mesh)?;
    tell_why(story, &target);

    story.tell("clara is back; the calls go on");
    drop(silent);
    servers[2].start().await?;
    // A probe opens the door of her circuit; the call that comes in closes it.
    let mut found = pin!(ready(&target, 3));
    loop {
        tokio::select! {
            found = &mut found => break found?,
            by_mesh = round(&mesh) => all_answered(&by_mesh)?,
        }
    }
    story.tell("the target has found her, and lets her share grow");
    let found_at = Instant::now();
    loop {
        for server in &servers {
            server.new_calls();
        }
        let by_mesh = round(&mesh).await;
        let calls: Vec<usize> = servers.iter().map(Recognizer::new_calls).collect();
        story.tell(format_args!(
            "  anna got {}, berta {} and clara {} calls; {} failed",
            calls[0], calls[1], calls[2], by_mesh.failed
        ));
        all_answered(&by_mesh)?;
        if calls[2] * 5 > calls.iter().sum() {
            return Ok(());
        }
        claim(
            found_at.elapsed() < Duration::from_secs(5),
            "clara has her share again within 5 s",
        )?;
    }
}

fn all_answered(by_mesh: &Tally) -> Result<(), Box<dyn Error>> {
    claim(
        by_mesh.failed == 0,
        format!("no call through the target fails: {by_mesh}"),
    )
}

/// Makes the calls of one round.
async fn round(client: &Client) -> Tally {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut client = client.clone();
        callers.spawn(async move {
            let mut tally = Tally::default();
            for _ in 0..CALLS_EACH {
                let begun = Instant::now();
                tally.add(client.identify().await, begun.elapsed());
                sleep(PAUSE).await;
            }
            tally
        });
    }
    callers
        .join_all()
        .await
        .into_iter()
        .fold(Tally::default(), Tally::and)
}

/// Says of each endpoint that is not in the choice why it is not.
fn tell_why(story: Story, target: &Target) {
    for endpoint in target.snapshot().endpoints {
        if let Some(why) = endpoint.why {
            story.tell(format_args!("  not called: {}, {why}", endpoint.endpoint));
        }
    }
}

// === impl Client ===

impl Client {
    async fn identify(&mut self) -> Result<(), Status> {
        let request = IdentifyRequest {
            image_path: "photograph.jpg".to_owned(),
        };
        match self {
            Self::Tonic(client) => client.identify(request).await,
            Self::Mesh(client) => client.identify(request).await,
        }
        .map(drop)
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, answer: Result<(), Status>, took: Duration) {
        match answer {
            Ok(()) => self.answered += 1,
            Err(status) => {
                self.failed += 1;
                let reason = format!("{:?}: {}", status.code(), status.message());
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
        self.longest = self.longest.max(took);
    }

    fn and(mut self, other: Self) -> Self {
        self.answered += other.answered;
        self.failed += other.failed;
        self.longest = self.longest.max(other.longest);
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answered,
            failed,
            reasons,
            longest,
        } = self;
        let calls = answered + failed;
        write!(
            f,
            "{failed:3} of {calls} calls failed, the longest took {} ms",
            longest.as_millis()
        )?;
        for (reason, count) in reasons {
            write!(f, "; {count} × {reason}")?;
        }
        Ok(())
    }
}
