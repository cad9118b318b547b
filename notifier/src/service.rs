//! The notifier as a whole: what it stands on, and its running.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Channel, Database};
use safelight_queue::{CHANNEL, Queue, QueueError};
use safelight_service::{Readiness, Shutdown};
use safelight_store::Store;
use tokio::time::Instant;

use crate::configuration::Configuration;
use crate::gate::Gate;
use crate::line::Line;
use crate::mail_teller::MailTeller;
use crate::teller::Teller;
use crate::webhook_teller::WebhookTeller;

/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(5);

/// What a notifier stands on.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// The truth.
    pub database: Database,
    /// What brings the work.
    pub queue: Queue,
    /// Where the pictures lie that mails show; without it they show none.
    pub store: Option<Store>,
    /// Where messages go, and how.
    pub configuration: Configuration,
}

/// Works until `shutdown`, then lets what runs finish for [`Settings::drain`](crate::Settings::drain) and gives the
/// rest back.
///
/// # Errors
/// Where the queue refuses a subscription, which only a wrong configuration does: a queue that is away is waited for.
pub async fn run(notifier: Notifier, readiness: Readiness, shutdown: Shutdown) -> Result<(), QueueError> {
    let Notifier {
        database,
        queue,
        store,
        configuration,
    } = notifier;
    let asked = database.clone();
    readiness.register("database", Duration::from_secs(2), move || {
        let asked = asked.clone();
        async move { asked.ping().await.map_err(|error| error.to_string()) }
    });
    let settings = Arc::new(configuration.settings.clone());
    let gate = Gate::new();
    let mailer = configuration.mailer;
    let public_url = configuration.public_url;
    let mail = MailTeller {
        database: database.clone(),
        mailer: Arc::clone(&mailer),
        gate: gate.clone(),
        store,
        from: configuration.from,
        public_url: Arc::clone(&public_url),
        settings: Arc::clone(&settings),
    };
    let mut lines = vec![Line::new(
        Channel::Mail,
        database.clone(),
        Teller::Mail(mail),
        gate.clone(),
        Arc::clone(&settings),
    )];
    match configuration.secrets {
        Some(secrets) => {
            let webhook = WebhookTeller {
                database: database.clone(),
                caller: configuration.caller,
                secrets,
                public_url: Arc::clone(&public_url),
                settings: Arc::clone(&settings),
            };
            // Each address is away by itself, so that nothing holds all of them back.
            lines.push(Line::new(
                Channel::Webhook,
                database.clone(),
                Teller::Webhook(webhook),
                Gate::always_open(),
                Arc::clone(&settings),
            ));
        }
        None => tracing::info!("webhooks wait: they are signed, and WEBHOOK_SECRETS is not set"),
    }

    let mut tending = Vec::new();
    for line in &lines {
        let max_in_flight = u32::try_from(settings.concurrency).unwrap_or(u32::MAX);
        let subscription = queue.subscribe(line.channel().topic(), CHANNEL, max_in_flight)?;
        let follow = line.clone().follow(subscription.control(), shutdown.clone());
        tending.push(tokio::spawn(follow));
        tending.push(tokio::spawn(line.clone().consume(subscription, shutdown.clone())));
        tending.push(tokio::spawn(line.clone().sweep(shutdown.clone())));
    }
    let check = move || {
        let mailer = Arc::clone(&mailer);
        async move { mailer.check().await }
    };
    tending.push(tokio::spawn(gate.tend(
        "mail",
        readiness,
        shutdown.clone(),
        check,
    )));
    tending.push(tokio::spawn(measure(database, shutdown.clone())));

    shutdown.triggered().await;
    // A consumer's own end waits for the running work, too: both have the same time.
    let deadline = Instant::now() + settings.drain;
    for task in tending {
        if let Err(error) = task.await {
            tracing::error!(%error, "a part of the notifier ended badly");
        }
    }
    for line in &lines {
        line.drain(deadline).await;
    }
    Ok(())
}

async fn measure(database: Database, shutdown: Shutdown) {
    loop {
        for channel in [Channel::Mail, Channel::Webhook] {
            if let Ok(backlog) = database.notifications().backlog(channel).await {
                for (state, count) in [
                    ("ready", backlog.ready),
                    ("leased", backlog.leased),
                    ("waiting", backlog.waiting),
                ] {
                    metrics::gauge!("notifier_backlog", "channel" => channel.as_str(), "state" => state)
                        .set(count as f64);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(MEASURE) => {}
            () = shutdown.triggered() => return,
        }
    }
}
