//! `safelight notify`: shows who was told of what, and has it sent again.

mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use safelight_database::{
    Channel, DatabaseArgs, NotificationQuery, NotificationState, Notifications, Resend,
};
use serde_json::json;

/// What is done about mails and webhooks. It exits with 0 where all is well, with 1 where the database was away, with 2
/// where something could not be sent again, with 78 where an argument is wrong.
#[derive(Args, Debug)]
pub(crate) struct NotifyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show mails and webhooks, the newest first
    List(ListArgs),
    /// Send mails and webhooks again that were sent or given up, each as the same message: the id of a webhook and the
    /// Message-ID of a mail stay
    Resend(ResendArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// only those in these states: ready, sent, failed
    #[arg(long, value_delimiter = ',', value_parser = state)]
    state: Vec<NotificationState>,
    /// only those of this channel: mail, webhook
    #[arg(long, value_parser = channel)]
    channel: Option<Channel>,
    /// only those of this job
    #[arg(long)]
    job: Option<i64>,
    /// how many at most, 1 to 1000000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// print a JSON object for each, one a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct ResendArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// the numbers that `safelight notify list` shows
    #[arg(required = true, value_name = "ID")]
    ids: Vec<i64>,
    /// let the addresses of webhooks be called again that asked for no more calls (410)
    #[arg(long)]
    enable: bool,
}

/// Does what the arguments ask for.
pub(crate) async fn run(arguments: NotifyArgs) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::List(arguments) => list(&arguments).await,
        Command::Resend(arguments) => resend(&arguments).await,
    }
}

async fn list(arguments: &ListArgs) -> anyhow::Result<ExitCode> {
    let notifications = open(&arguments.database).await?;
    let query = NotificationQuery {
        states: arguments.state.clone(),
        channel: arguments.channel,
        batch_id: arguments.job,
    };
    let limit = usize::try_from(arguments.limit).unwrap_or(usize::MAX);
    let mut listed = Vec::new();
    let mut before = None;
    while listed.len() < limit {
        let page = notifications.list(&query, before).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        listed.extend(page);
    }
    listed.truncate(limit);
    if !arguments.json {
        print!("{}", table::table(&listed));
        return Ok(ExitCode::SUCCESS);
    }
    for one in listed {
        let object = json!({
            "id": one.id, "job": one.batch_id, "channel": one.channel.as_str(), "recipient": one.recipient,
            "state": one.state, "tries": one.tries, "reason": one.reason, "created_at_ms": one.created_at_ms,
            "ended_at_ms": one.ended_at_ms, "disabled": one.disabled,
        });
        println!("{object}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn resend(arguments: &ResendArgs) -> anyhow::Result<ExitCode> {
    let notifications = open(&arguments.database).await?;
    let mut again = 0;
    let mut not = 0;
    for id in &arguments.ids {
        let resent = notifications.resend(*id, arguments.enable).await;
        let resent = resent.context("not all were put back; running it again goes on with the others")?;
        match resent {
            Resend::Again | Resend::Waits => again += 1,
            Resend::Disabled | Resend::Unknown => not += 1,
        }
        println!("{id}: {}", table::said(resent));
    }
    println!("notify: {again} to be sent, {not} not");
    Ok(if not == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    })
}

async fn open(arguments: &DatabaseArgs) -> Result<Notifications, safelight_database::Error> {
    let database = arguments.open().await?;
    database.ping().await?;
    Ok(database.notifications())
}

fn state(name: &str) -> Result<NotificationState, String> {
    let states = [
        NotificationState::Ready,
        NotificationState::Sent,
        NotificationState::Failed,
    ];
    let known = states.into_iter().find(|state| state.as_str() == name);
    known.ok_or_else(|| "there are ready, sent, failed".to_owned())
}

fn channel(name: &str) -> Result<Channel, String> {
    let known = [Channel::Mail, Channel::Webhook]
        .into_iter()
        .find(|channel| channel.as_str() == name);
    known.ok_or_else(|| "there are mail, webhook".to_owned())
}
