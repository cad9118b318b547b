use std::time::Duration;

use safelight_database::Channel;
use safelight_testkit::{SmtpOptions, SmtpServer, require_smtp};

use crate::road::{Road, eventually};

const SENT: i64 = 1;

#[tokio::test]
async fn many_jobs_of_one_recipient_come_in_few_mails_and_others_have_their_own() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let mut ids = Vec::new();
    for number in 0..60 {
        ids.push(
            road.job(&format!("cat-{number}.png"), Channel::Mail, "many@b.example")
                .await,
        );
    }
    let single = road.job("dog.png", Channel::Mail, "one@b.example").await;
    let mut configuration = road.configuration(&["--smtp-url", &server.url()]);
    configuration.settings.digest.after = 5;
    configuration.settings.digest.window = Duration::from_secs(2);
    let _running = road.start(configuration);
    for id in ids.iter().chain([&single]) {
        assert_eq!(road.ended(*id).await, (SENT, 0, None));
    }

    let (many, one): (Vec<_>, Vec<_>) = server
        .mails()
        .into_iter()
        .partition(|mail| mail.to == ["many@b.example"]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].header("Subject").as_deref(), Some("done: dog.png"));
    // Four hands may each have begun before the first of them was done.
    assert!(many.len() <= 8, "{} mails", many.len());
    for number in 0..60 {
        let name = format!("cat-{number}.png");
        let told = many.iter().filter(|mail| mail.words().contains(&name)).count();
        assert_eq!(told, 1, "{name}");
    }
    let alone = road
        .number("SELECT COUNT(*) FROM notifications WHERE sent_with IS NULL")
        .await;
    assert_eq!(alone as usize, many.len() + 1);
}

#[tokio::test]
async fn who_had_enough_mails_is_told_of_the_rest_in_one_when_the_window_is_over() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let mut configuration = road.configuration(&["--smtp-url", &server.url()]);
    configuration.settings.concurrency = 1;
    configuration.settings.digest.after = 2;
    configuration.settings.digest.window = Duration::from_secs(600);
    let _running = road.start(configuration);
    for name in ["first.png", "second.png"] {
        let id = road.job(name, Channel::Mail, "a@b.example").await;
        assert_eq!(road.ended(id).await.0, SENT);
    }
    let mut held = Vec::new();
    for name in ["third.png", "fourth.png"] {
        held.push(road.job(name, Channel::Mail, "a@b.example").await);
    }
    eventually("the rest is held", async || {
        let held = "SELECT COUNT(*) FROM notifications WHERE state = 0 AND token IS NULL \
                    AND available_at > CAST(unixepoch('subsec') * 1000 AS INTEGER) + 500000";
        (road.number(held).await == 2).then_some(())
    })
    .await;
    assert_eq!(server.mails().len(), 2);

    road.execute("UPDATE notifications SET ended_at = ended_at - 600000 WHERE state = 1 AND id = 1")
        .await;
    road.execute("UPDATE notifications SET available_at = 0 WHERE state = 0")
        .await;
    for id in held {
        assert_eq!(road.ended(id).await, (SENT, 0, None));
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    assert_eq!(mails[2].header("Subject").as_deref(), Some("2 jobs: all done"));
}
