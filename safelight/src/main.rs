//! Safelight in one program: everything in one process, and the command line.

mod demo;
mod migrate;
mod notify;
mod post;
mod redeem;
mod span;
mod terminal;
mod up;
mod webhook_secret;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use safelight_service::telemetry;

/// A media pipeline that keeps every image safe while the services working on it come and go.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in this process, with what it stores in one folder
    Up(Box<up::UpArgs>),
    /// Watch real photographs being recognized
    Demo(Box<demo::DemoArgs>),
    /// Bring the database to the schema of this version
    Migrate(migrate::MigrateArgs),
    /// Upload files and folders, and follow what becomes of them
    Post(Box<post::PostArgs>),
    /// Put failed tasks back whose reason is one that time may heal
    Redeem(Box<redeem::RedeemArgs>),
    /// Show who was told of what, and send it again
    Notify(Box<notify::NotifyArgs>),
    /// Print a new secret for webhooks, or the one of an address
    WebhookSecret(webhook_secret::WebhookSecretArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    if let Err(missing) = safelight_recognizer::check_cpu() {
        safelight_service::configuration_error(missing);
    }
    let arguments: Arguments = safelight_service::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Up(arguments) => {
                let _telemetry = telemetry::init("safelight");
                up::run(*arguments).await
            }
            Command::Demo(arguments) => {
                let _telemetry = telemetry::init_at("safelight", "error");
                demo::run(*arguments).await
            }
            Command::Migrate(arguments) => {
                let _telemetry = telemetry::init("safelight");
                migrate::run(arguments).await
            }
            Command::Redeem(arguments) => {
                let _telemetry = telemetry::init_at("safelight", "warn");
                redeem::run(*arguments).await
            }
            Command::Notify(arguments) => {
                let _telemetry = telemetry::init_at("safelight", "warn");
                return notify::run(*arguments).await;
            }
            Command::WebhookSecret(arguments) => {
                webhook_secret::run(&arguments);
                Ok(())
            }
            Command::Post(arguments) => {
                let _telemetry = telemetry::init_at("safelight", "error");
                return post::run(*arguments).await;
            }
        }?;
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_two_services_share_a_flag() {
        super::Arguments::command().debug_assert();
    }
}
