//! The processor as a whole: what it stands on, and its running.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Database, TaskKind};
use safelight_mesh::{Availability, AvailabilityState, Target};
use safelight_queue::{CHANNEL, Queue, QueueError, Relay, RelaySettings, SubscriptionControl};
use safelight_service::{Readiness, Shutdown};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::crew::Crew;
use crate::job::Job;
use crate::recognition::{RecognizerApi, RecognizerClient};
use crate::settings::Settings;
use crate::transforming::TransformerClient;
use crate::work::Worker;
use crate::{consumer, joins, sweep};

/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(5);

/// What a processor stands on.
#[derive(Clone)]
pub struct Processor {
    /// The truth.
    pub database: Database,
    /// What brings the work.
    pub queue: Queue,
    /// The recognizer, behind the mesh.
    pub recognizer: Target,
    /// The contract it speaks.
    pub recognizer_api: RecognizerApi,
    /// The transformer, behind the mesh. Without one its work is left to other processors.
    pub transformer: Option<Target>,
    /// How to work.
    pub settings: Settings,
}

/// Works until `shutdown`, then lets what runs finish for [`Settings::drain`] and gives the rest back.
///
/// # Errors
/// Where the queue refuses the subscription, which only a wrong configuration does: a queue that is away is
/// waited for.
pub async fn run(processor: Processor, readiness: Readiness, shutdown: Shutdown) -> Result<(), QueueError> {
    let asked = processor.database.clone();
    readiness.register("database", Duration::from_secs(2), move || {
        let asked = asked.clone();
        async move { asked.ping().await.map_err(|error| error.to_string()) }
    });
    let wake = Arc::new(Notify::new());
    let lines = processor.lines(&wake);
    let mut tending = JoinSet::new();
    let mut crews = Vec::with_capacity(lines.len());
    for line in lines {
        crews.push(line.crew.clone());
        line.start(&processor.queue, &readiness, &shutdown, &mut tending)?;
    }
    let kinds = crews.iter().map(Crew::kind).collect();
    tending.spawn(measure(processor.database.clone(), kinds, shutdown.clone()));
    tending.spawn(joins::sweep(processor.database.clone(), shutdown.clone()));
    // It ends last, so that it can publish what the last ends leave behind.
    let relay_shutdown = Shutdown::new();
    let relay = processor
        .relay(wake)
        .map(|relay| tokio::spawn(relay.run(relay_shutdown.clone())));
    shutdown.triggered().await;
    // The consumers' own ends wait for the running work, too: all have the same time.
    let deadline = Instant::now() + processor.settings.drain;
    while let Some(ended) = tending.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the processor ended badly");
        }
    }
    let draining: JoinSet<()> = crews
        .into_iter()
        .map(|crew| async move { crew.drain(deadline).await })
        .collect();
    draining.join_all().await;
    relay_shutdown.trigger();
    if let Some(relay) = relay
        && let Err(error) = relay.await
    {
        tracing::error!(%error, "the relay ended badly");
    }
    Ok(())
}

/// One kind of work, from its topic to those who do it: a service that is away holds up its own lines only.
struct Line {
    crew: Crew,
    max_in_flight: u32,
    availability: watch::Receiver<Availability>,
    service: &'static str,
}

// === impl Processor ===

impl Processor {
    /// What carries the messages that the ends of tasks leave behind. Without a producer the receivers' do, a little later.
    fn relay(&self, wake: Arc<Notify>) -> Option<Relay<Queue>> {
        let (database, queue) = (self.database.clone(), self.queue.clone());
        self.queue
            .can_publish()
            .then(|| Relay::new(database, queue, wake, RelaySettings::default()))
    }

    fn lines(&self, wake: &Arc<Notify>) -> Vec<Line> {
        let settings = Arc::new(self.settings.clone());
        let line = |target: &Target, job: Job, concurrency: usize| Line {
            service: job.service(),
            availability: target.availability(),
            max_in_flight: u32::try_from(concurrency).unwrap_or(u32::MAX),
            crew: Crew::new(
                concurrency,
                Worker::new(
                    self.database.clone(),
                    job,
                    Arc::clone(&settings),
                    Arc::clone(wake),
                ),
                target.availability(),
            ),
        };
        let channel = self.recognizer.channel();
        let recognizer = RecognizerClient::new(self.recognizer_api, channel, self.database.clone());
        let identify = line(&self.recognizer, Job::Identify(recognizer), settings.concurrency);
        let mut lines = vec![identify];
        if let Some(target) = &self.transformer {
            let client = TransformerClient::new(target.channel());
            lines.extend([
                line(target, Job::Prepare(client.clone()), settings.transforms),
                line(target, Job::Thumbnail(client.clone()), settings.transforms),
                line(target, Job::Frame(client.clone()), settings.films),
                line(target, Job::Gif(client), settings.films),
            ]);
        }
        lines
    }
}

// === impl Line ===

impl Line {
    fn start(
        self,
        queue: &Queue,
        readiness: &Readiness,
        shutdown: &Shutdown,
        tending: &mut JoinSet<()>,
    ) -> Result<(), QueueError> {
        let subscription = queue.subscribe(self.crew.kind().topic(), CHANNEL, self.max_in_flight)?;
        tending.spawn(follow(
            self.availability,
            subscription.control(),
            self.max_in_flight,
            (self.service, readiness.clone()),
            shutdown.clone(),
        ));
        tending.spawn(sweep::sweep(self.crew.clone(), shutdown.clone()));
        tending.spawn(consumer::consume(subscription, self.crew, shutdown.clone()));
        Ok(())
    }
}

/// Holds a subscription back while the service is away, and says so at `/ready`; while it is on trial, takes the
/// one task that it is tried out with.
async fn follow(
    mut availability: watch::Receiver<Availability>,
    flow: SubscriptionControl,
    max_in_flight: u32,
    (service, readiness): (&'static str, Readiness),
    shutdown: Shutdown,
) {
    loop {
        let now = availability.borrow_and_update().clone();
        flow.set_max_in_flight(allowed(&now, max_in_flight));
        readiness.set(
            service,
            match now.state {
                AvailabilityState::Available => Ok(()),
                AvailabilityState::Unavailable => Err(now.reason.into_owned()),
            },
        );
        tokio::select! {
            changed = availability.changed() => if changed.is_err() { break },
            () = shutdown.triggered() => break,
        }
    }
}

/// How many messages to take at a time: more than can be worked on would only be put back.
fn allowed(service: &Availability, max_in_flight: u32) -> u32 {
    match service.state {
        AvailabilityState::Unavailable => 0,
        AvailabilityState::Available if service.one_at_a_time => 1,
        AvailabilityState::Available => max_in_flight,
    }
}

async fn measure(database: Database, kinds: Vec<TaskKind>, shutdown: Shutdown) {
    loop {
        for kind in &kinds {
            let Ok(backlog) = database.tasks().backlog(*kind).await else {
                continue;
            };
            for (state, count) in [
                ("ready", backlog.ready),
                ("leased", backlog.leased),
                ("waiting", backlog.waiting),
            ] {
                metrics::gauge!("processor_backlog", "kind" => kind.as_str(), "state" => state)
                    .set(count as f64);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(MEASURE) => {}
            () = shutdown.triggered() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_taken_while_the_service_is_away_and_one_while_it_is_on_trial() {
        let service = |state, one_at_a_time| Availability {
            state,
            reason: "".into(),
            retry_at: None,
            one_at_a_time,
        };
        assert_eq!(allowed(&service(AvailabilityState::Unavailable, false), 8), 0);
        assert_eq!(allowed(&service(AvailabilityState::Available, true), 8), 1);
        assert_eq!(allowed(&service(AvailabilityState::Available, false), 8), 8);
    }
}
