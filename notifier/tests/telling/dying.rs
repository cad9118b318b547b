use std::process::Command;
use std::time::Duration;

use safelight_database::Channel;
use safelight_testkit::{
    ServerDirectory, ServerProcess, SmtpBehavior, SmtpOptions, SmtpServer, free_port, require_smtp,
};

use crate::road::{PUBLIC_URL, Road, eventually};

const SENT: i64 = 1;

fn start(road: &Road, server: &SmtpServer, directory: &ServerDirectory) -> ServerProcess {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safelight-notifier"));
    command
        .env("DATABASE_URL", road.database_url())
        .env("QUEUE", "embedded")
        .env("SMTP_URL", server.url())
        .env("PUBLIC_URL", PUBLIC_URL)
        .env("MAIL_FROM", "noreply@safelight.example")
        .env("NOTIFIER_LISTEN", format!("127.0.0.1:{}", free_port()))
        .current_dir(directory.path());
    ServerProcess::spawn("notifier", command, &directory.path().join("log")).unwrap()
}

#[tokio::test]
async fn a_notifier_that_dies_before_it_has_written_down_a_mail_sends_it_again_under_the_same_id() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let directory = ServerDirectory::create("notifier-").unwrap();
    let stalled = SmtpBehavior {
        stall: true,
        ..SmtpBehavior::default()
    };
    server.behave(&stalled);
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let mut first = start(&road, &server, &directory);
    eventually("the server has the mail and has not said so", async || {
        (server.mails().len() == 1).then_some(())
    })
    .await;
    first.kill();
    assert_eq!(road.notification(id).await, (0, 0, None));

    server.behave(&SmtpBehavior::default());
    // As if the dead one's lease had ended.
    road.execute("UPDATE notifications SET available_at = 0").await;
    let mut second = start(&road, &server, &directory);
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    let mails = server.mails();
    assert_eq!(mails.len(), 2);
    let ids: Vec<_> = mails
        .iter()
        .map(|mail| mail.header("Message-ID").unwrap())
        .collect();
    assert_eq!(ids[0], ids[1]);
    let ended = second.terminate(Duration::from_secs(20)).await;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[tokio::test]
async fn a_mail_server_without_the_address_of_the_pages_is_a_wrong_configuration() {
    for (variables, named) in [
        (&[("SMTP_URL", "smtps://a:secret@mail.example")][..], "PUBLIC_URL"),
        (
            &[
                ("SMTP_URL", "http://a:secret@mail.example"),
                ("PUBLIC_URL", PUBLIC_URL),
            ][..],
            "SMTP_URL",
        ),
        (&[("WEBHOOK_SECRETS", "secret")][..], "WEBHOOK_SECRETS"),
        (&[("PUBLIC_URL", "mailto:a@b")][..], "PUBLIC_URL"),
    ] {
        let directory = ServerDirectory::create("notifier-").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_safelight-notifier"))
            .envs(variables.iter().copied())
            .env(
                "DATABASE_URL",
                format!("sqlite://{}/no.db", directory.path().display()),
            )
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with(&format!("configuration: {named}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("secret@") && !said.contains("'secret'"), "{said}");
    }
}
