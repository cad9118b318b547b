//! Servers that are not dead but strained, while their health checks pass.
//!
//! First one of three answers late, and every second time with `UNAVAILABLE`: see the calls leave it, and come back
//! when it is well. Then all three answer every second time with `UNAVAILABLE`, where there is nobody to go to: see
//! the retries end at their budget instead of doubling the load, and one circuit of three open at most.
//!
//! ```text
//! cargo run -p safelight-mesh --example brown_out
//! ```
//!
//! It ends with an error unless that is what happened.

mod support;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safelight_mesh::breaker::{Rate, Span};
use safelight_mesh::{MeshChannel, Probe, Settings, Target};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use tokio::task::JoinSet;
use tokio::time::sleep;

use support::recognizer::{Manner, Recognizer, addresses, recognizers};
use support::story::Story;
use support::{claim, methods, ready};

const CALLERS: usize = 8;
/// What a caller does between two calls.
const PAUSE: Duration = Duration::from_millis(10);
/// How often the story goes on.
const STEP: Duration = Duration::from_millis(500);
/// Five seconds.
const MOST_STEPS: usize = 10;

/// What became of the calls.
#[derive(Default)]
struct Counts {
    answered: AtomicUsize,
    failed: AtomicUsize,
}

/// Those who watch, and what they have seen.
struct Watch {
    story: Story,
    target: Target,
    servers: Vec<Recognizer>,
    counts: Arc<Counts>,
    seen: Seen,
}

/// What was seen in one step or in several.
#[derive(Clone, Copy, Default)]
struct Seen {
    answered: usize,
    failed: usize,
    /// What the servers saw, and the third of them alone.
    served: usize,
    served_by_clara: usize,
    /// The most circuits that were open at the end of a step.
    open: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let story = Story::begin();
    let servers = recognizers(["anna", "berta", "clara"]).await?;

    // Five failures in a row seldom come together where every second call succeeds, so a rate is set beside them.
    let settings = Settings {
        deadline: Duration::from_secs(2),
        failure_rate: Some(Rate {
            threshold: 0.3,
            minimum_calls: 20,
            over: Span::Time(Duration::from_secs(2)),
        }),
        ..Settings::default()
    };
    let target = Target::builder("recognizer", addresses(&servers))
        .settings(settings)
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .methods(methods()?)
        .connect()?;
    ready(&target, 3).await?;

    let counts = Arc::new(Counts::default());
    let _callers = load(&target, &counts);
    let mut watch = Watch {
        story,
        target,
        servers,
        counts,
        seen: Seen::default(),
    };

    story.tell("three servers are well");
    watch.steps(2).await;

    story.tell("clara answers after 300 ms, and every second time with UNAVAILABLE");
    watch.servers[2].behave(Manner::Strained(Duration::from_millis(300)));
    let one = watch.steps(3).await;
    claim(
        one.failed * 100 <= one.answered,
        "99 of 100 calls are answered, though a third of the servers is strained",
    )?;

    story.tell("clara is well again");
    watch.servers[2].behave(Manner::Well);
    let mut has_share = false;
    for _ in 0..MOST_STEPS {
        let well = watch.steps(1).await;
        has_share = well.served_by_clara * 4 > well.served;
        if has_share {
            break;
        }
    }
    claim(has_share, "a server that is well again gets its share within 5 s")?;

    story.tell("all three answer every second time with UNAVAILABLE");
    watch.all_behave(Manner::Strained(Duration::from_millis(20)));
    let all = watch.steps(4).await;
    claim(all.open <= 1, "of three circuits at most one opens on rates")?;
    claim(
        all.answered > all.failed,
        "more calls are answered than a server by itself would answer",
    )?;

    story.tell("all are well again");
    watch.all_behave(Manner::Well);
    watch.steps(6).await;

    let seen = watch.seen;
    story.tell(format_args!(
        "{} calls were answered, {} failed; the servers saw {}",
        seen.answered, seen.failed, seen.served
    ));
    // A fifth is the budget; what is under way at this moment has been served and not yet counted.
    claim(
        seen.served <= (seen.answered + seen.failed) * 12 / 10 + CALLERS,
        "the servers see at most 1.2 times what was called",
    )
}

/// Callers that call one time after the other until they are dropped.
fn load(target: &Target, counts: &Arc<Counts>) -> JoinSet<()> {
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = IdentifyClient::new(target.channel());
        callers.spawn(call_on_and_on(client, counts.clone()));
    }
    callers
}

async fn call_on_and_on(mut client: IdentifyClient<MeshChannel>, counts: Arc<Counts>) {
    loop {
        let request = IdentifyRequest {
            image_path: "photograph.jpg".to_owned(),
        };
        let counter = match client.identify(request).await {
            Ok(_) => &counts.answered,
            Err(_) => &counts.failed,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        sleep(PAUSE).await;
    }
}

// === impl Watch ===

impl Watch {
    fn all_behave(&self, manner: Manner) {
        for server in &self.servers {
            server.behave(manner);
        }
    }

    /// Tells of so many steps, and gives what was seen in all of them.
    async fn steps(&mut self, steps: usize) -> Seen {
        let mut all = Seen::default();
        for _ in 0..steps {
            sleep(STEP).await;
            all = all.and(self.step());
        }
        self.seen = self.seen.and(all);
        all
    }

    fn step(&self) -> Seen {
        let served: Vec<usize> = self.servers.iter().map(Recognizer::new_calls).collect();
        let endpoints = self.target.snapshot().endpoints;
        let open = endpoints.iter().filter(|endpoint| endpoint.circuit == "open");
        let seen = Seen {
            answered: self.counts.answered.swap(0, Ordering::SeqCst),
            failed: self.counts.failed.swap(0, Ordering::SeqCst),
            served: served.iter().sum(),
            served_by_clara: served[2],
            open: open.count(),
        };
        let mut line = format!("  answered {:3}, failed {:2};", seen.answered, seen.failed);
        for (server, calls) in self.servers.iter().zip(served) {
            let part = 100 * calls / seen.served.max(1);
            line.push_str(&format!(" {} got {part:2} %,", server.name));
        }
        line.push_str(&format!(" {} of 3 circuits open", seen.open));
        self.story.tell(line);
        for endpoint in endpoints {
            if let Some(why) = endpoint.why {
                self.story
                    .tell(format_args!("  not called: {}, {why}", endpoint.endpoint));
            }
        }
        seen
    }
}

// === impl Seen ===

impl Seen {
    fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            served: self.served + other.served,
            served_by_clara: self.served_by_clara + other.served_by_clara,
            open: self.open.max(other.open),
        }
    }
}
