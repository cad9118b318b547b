use safelight_database::Channel;
use safelight_testkit::{SmtpBehavior, SmtpOptions, SmtpSecurity, SmtpServer, require_smtp};

use crate::road::{PUBLIC_URL, Road, eventually};

const SENT: i64 = 1;
const FAILED: i64 = 2;

fn refusing(recipient: &str, answer: &str) -> SmtpBehavior {
    let mut behavior = SmtpBehavior::default();
    behavior.rcpt.insert(recipient.to_owned(), answer.to_owned());
    behavior
}

#[tokio::test]
async fn a_job_is_told_of_in_one_mail_with_links_and_its_picture() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let running = road.start_with(&server.url(), None);
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    road.announce(Channel::Mail, id).await;
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    running.stop().await;

    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!(
        (mail.from.as_str(), &*mail.to),
        ("noreply@safelight.example", &["a@b.example".to_owned()][..])
    );
    assert_eq!(mail.header("Subject").as_deref(), Some("done: cat.png"));
    assert_eq!(mail.header("Auto-Submitted").as_deref(), Some("auto-generated"));
    let words = mail.words();
    let image = road.number("SELECT id FROM images").await;
    assert!(
        words.contains(&format!("{PUBLIC_URL}/images/{image}/outputs/thumbnail-small")),
        "{words}"
    );
    assert!(
        words.contains(&format!("cid:picture-{image}@safelight")),
        "{words}"
    );
    assert!(
        words.contains(&format!("Content-ID: <picture-{image}@safelight>")),
        "{words}"
    );
    // "a small picture" as base64.
    assert!(words.contains("YSBzbWFsbCBwaWN0dXJl"), "{words}");
    assert!(
        !words.contains(&road.store.folder().unwrap().display().to_string()),
        "{words}"
    );
}

#[tokio::test]
async fn a_mail_that_no_message_tells_of_is_found() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let _running = road.start_with(&server.url(), None);
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn mails_go_over_tls_and_with_a_login_where_the_url_says_so() {
    require_smtp!();
    for security in [SmtpSecurity::StartTls, SmtpSecurity::Tls] {
        let login = Some(("someone".to_owned(), "secret".to_owned()));
        let server = SmtpServer::start(SmtpOptions { security, login }).await;
        let road = Road::new().await;
        let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
        let _running = road.start_with(&server.url(), Some(&server.authority()));
        assert_eq!(road.ended(id).await, (SENT, 0, None));
        let mails = server.mails();
        assert_eq!(mails.len(), 1);
        assert!(mails[0].tls);
        assert_eq!(mails[0].login.as_deref(), Some("someone"));
    }
}

#[tokio::test]
async fn a_server_whose_certificate_nobody_knows_gets_no_mail_and_fails_none() {
    require_smtp!();
    let security = SmtpSecurity::Tls;
    let server = SmtpServer::start(SmtpOptions {
        security,
        login: None,
    })
    .await;
    let road = Road::new().await;
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let running = road.start_with(&server.url(), None);
    eventually("the readiness says so", async || {
        let state = running.readiness.state();
        state
            .err()
            .filter(|why| why.contains("mail: ") && why.contains("certificate"))
    })
    .await;
    assert_eq!(road.notification(id).await.0, 0);
    assert!(server.mails().is_empty());
}

#[tokio::test]
async fn a_recipient_that_the_server_does_not_know_is_failed_with_its_words() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    server.behave(&refusing("no@b.example", "550 5.1.1 there is no such user"));
    let _running = road.start_with(&server.url(), None);
    let refused = road.job("cat.png", Channel::Mail, "no@b.example").await;
    let (state, tries, reason) = road.ended(refused).await;
    assert_eq!((state, tries), (FAILED, 0));
    assert!(
        reason.as_deref().unwrap().contains("there is no such user"),
        "{reason:?}"
    );
    // Others are not held up.
    let other = road.job("dog.png", Channel::Mail, "yes@b.example").await;
    assert_eq!(road.ended(other).await.0, SENT);
}

#[tokio::test]
async fn a_recipient_that_is_told_later_costs_a_try_and_is_tried_again_after_a_minute() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    server.behave(&refusing("a@b.example", "450 4.2.1 come back later"));
    let _running = road.start_with(&server.url(), None);
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let (_, tries, reason) = eventually("a try is counted", async || {
        Some(road.notification(id).await).filter(|found| found.1 > 0)
    })
    .await;
    assert_eq!(tries, 1);
    assert!(reason.unwrap().contains("come back later"));
    let due_in = "SELECT available_at - CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM notifications";
    let due_in = road.number(due_in).await;
    assert!((40_000..=66_000).contains(&due_in), "{due_in}");

    server.behave(&SmtpBehavior::default());
    road.execute("UPDATE notifications SET available_at = 0").await;
    assert_eq!(road.ended(id).await, (SENT, 1, None));
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_delays_and_loses_nothing_and_costs_no_try() {
    require_smtp!();
    let road = Road::new().await;
    let mut server = SmtpServer::start(SmtpOptions::default()).await;
    let running = road.start_with(&server.url(), None);
    let first = road.job("first.png", Channel::Mail, "a@b.example").await;
    assert_eq!(road.ended(first).await.0, SENT);

    server.kill();
    let mut ids = Vec::new();
    for number in 0..20 {
        let id = road
            .job("cat.png", Channel::Mail, &format!("{number}@b.example"))
            .await;
        road.announce(Channel::Mail, id).await;
        ids.push(id);
    }
    eventually("the readiness says so", async || {
        running
            .readiness
            .state()
            .err()
            .filter(|why| why.starts_with("mail: "))
    })
    .await;
    for id in &ids {
        let (state, tries, _) = road.notification(*id).await;
        assert_eq!((state, tries), (0, 0));
    }

    server.restart().await;
    for id in &ids {
        assert_eq!(road.ended(*id).await, (SENT, 0, None));
    }
    assert_eq!(server.mails().len(), 21);
    assert_eq!(running.readiness.state(), Ok(()));
}

#[tokio::test]
async fn a_server_that_takes_no_mail_from_us_fails_none() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    server.behave(&SmtpBehavior {
        mail: Some("550 5.7.1 not from here".to_owned()),
        ..SmtpBehavior::default()
    });
    let running = road.start_with(&server.url(), None);
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    eventually("the readiness says so", async || {
        running
            .readiness
            .state()
            .err()
            .filter(|why| why.contains("not from here"))
    })
    .await;
    assert_eq!(road.notification(id).await.0, 0);
    server.behave(&SmtpBehavior::default());
    assert_eq!(road.ended(id).await, (SENT, 0, None));
}

#[tokio::test]
async fn no_name_and_no_reason_becomes_a_header() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let hostile = "cat\r\nBcc: victim@b.example\r\n\r\n.\r\nRSET\r\n.png";
    let id = road.job(hostile, Channel::Mail, "a@b.example").await;
    road.execute("UPDATE images SET status = 2, reason = 'x\r\nBcc: victim@b.example\n.\n'")
        .await;
    let _running = road.start_with(&server.url(), None);
    assert_eq!(road.ended(id).await.0, SENT);
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, ["a@b.example"]);
    assert_eq!(mails[0].header("Bcc"), None);
    assert!(mails[0].words().contains("Bcc: victim"), "it is told as text");
}

#[tokio::test]
async fn an_address_that_is_none_is_failed_and_holds_nothing_up() {
    require_smtp!();
    let (road, server) = (Road::new().await, SmtpServer::start(SmtpOptions::default()).await);
    let wrong = road
        .job("cat.png", Channel::Mail, "a@b\r\nRCPT TO:<victim@b.example>")
        .await;
    let right = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let _running = road.start_with(&server.url(), None);
    assert_eq!(road.ended(right).await.0, SENT);
    let (state, _, reason) = road.ended(wrong).await;
    assert_eq!(state, FAILED);
    assert!(reason.unwrap().starts_with("the address cannot be written to"));
    assert_eq!(server.mails().len(), 1);
}

#[tokio::test]
async fn mails_are_files_where_a_folder_is_named_and_wait_where_nothing_is() {
    let road = Road::new().await;
    let id = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let running = road.start(road.configuration(&[]));
    eventually("the readiness says so", async || {
        running
            .readiness
            .state()
            .err()
            .filter(|why| why.contains("SMTP_URL"))
    })
    .await;
    assert_eq!(road.notification(id).await, (0, 0, None));
    running.stop().await;

    let folder = road.folder.path().join("mail");
    let _running = road.start(road.configuration(&["--mail-folder", folder.to_str().unwrap()]));
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    let names: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names.len(), 1);
    let mail = std::fs::read_to_string(&names[0]).unwrap();
    let stem = names[0].file_stem().unwrap().to_str().unwrap();
    assert!(
        mail.contains(&format!("Message-ID: <{stem}@safelight.example>")),
        "{mail}"
    );
}
