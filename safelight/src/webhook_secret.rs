//! `safelight webhook-secret`: what webhooks are signed with.

use clap::Args;
use safelight_notifier::Secrets;
use safelight_service::configuration_error;

/// What goes to standard error beside a new secret, where it does not get into a file of settings.
const HOW_TO: &str = "\
This is a new secret. Put it before those that there are, separated by a comma, and start the notifier anew:
    WEBHOOK_SECRETS=NEW,OLD
From then on each webhook has two signatures. Each address has a secret of its own, made of the newest one:
    WEBHOOK_SECRETS=NEW,OLD safelight webhook-secret https://example.org/told
When all who are called know theirs, take the old one away.";

/// Without an address it prints a new secret for `WEBHOOK_SECRETS`, and how one replaces another; with one, the secret
/// that whoever is called there checks signatures with. It exits with 78 where an argument is wrong.
#[derive(Args)]
pub(crate) struct WebhookSecretArgs {
    /// the address of a webhook, letter by letter as it was posted
    url: Option<String>,
    /// the secrets that webhooks are signed with, the newest first, separated by commas
    #[arg(long, env = "WEBHOOK_SECRETS", hide_env_values = true)]
    webhook_secrets: Option<String>,
}

// The secrets are nobody's to read.
impl std::fmt::Debug for WebhookSecretArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSecretArgs")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Prints the secret that was asked for, and nothing else, on standard output.
pub(crate) fn run(arguments: &WebhookSecretArgs) {
    let Some(url) = &arguments.url else {
        eprintln!("{HOW_TO}");
        return println!("{}", Secrets::new_text());
    };
    let Some(secrets) = &arguments.webhook_secrets else {
        configuration_error("WEBHOOK_SECRETS: not set; the secret of an address is made of them");
    };
    match Secrets::parse(secrets) {
        Ok(secrets) => println!("{}", secrets.of_address(url)),
        Err(error) => configuration_error(format!("WEBHOOK_SECRETS: {error}")),
    }
}
