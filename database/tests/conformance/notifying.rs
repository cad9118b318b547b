use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use safelight_database::{
    Channel, Correspondence, Error, NotificationClaim, NotificationOutcome, NotificationQuery,
    NotificationState, Resend, Status,
};
use tokio::sync::Barrier;

use crate::back_end::{BackEnd, LONG, eventually, on_both_back_ends};

const MINUTE: Duration = Duration::from_secs(60);

/// A joined job with one image, and its notification; gives the notification's id.
async fn notification(back_end: &BackEnd, channel: Channel, recipient: &str) -> i64 {
    back_end
        .execute("INSERT INTO batches (sealed_at, joined_at) VALUES (1, 2)")
        .await;
    let batch = back_end.number("SELECT MAX(id) FROM batches").await;
    back_end
        .execute(&format!(
            "INSERT INTO images (path, name, status, batch_id) VALUES ('/in/{batch}', 'cat.png', 1, {batch})"
        ))
        .await;
    let hex = |text: String| -> String { text.bytes().map(|byte| format!("{byte:02x}")).collect() };
    let (hash, key) = (hex(format!("{recipient:0<32}")), hex(format!("{batch:016}")));
    back_end
        .execute(&format!(
            "INSERT INTO notifications (batch_id, channel, recipient, recipient_hash, message_key) \
             VALUES ({batch}, '{}', '{recipient}', x'{hash}', x'{key}')",
            channel.as_str()
        ))
        .await;
    back_end.number("SELECT MAX(id) FROM notifications").await
}

async fn mail(back_end: &BackEnd) -> i64 {
    notification(back_end, Channel::Mail, "a@b.example").await
}

async fn claim(back_end: &BackEnd, id: i64) -> NotificationClaim {
    let notifications = back_end.database.notifications();
    match notifications.claim(id, Channel::Mail, LONG).await.unwrap() {
        NotificationOutcome::Claimed(claim) => claim,
        other => panic!("notification {id} cannot be claimed: {other:?}"),
    }
}

async fn sweep(back_end: &BackEnd, channel: Channel, limit: u32) -> Vec<NotificationClaim> {
    let notifications = back_end.database.notifications();
    notifications
        .claim_due(channel, limit, Duration::ZERO, LONG)
        .await
        .unwrap()
}

async fn make_everything_due(back_end: &BackEnd) {
    back_end
        .execute("UPDATE notifications SET available_at = 1000 WHERE state = 0")
        .await;
}

async fn one(back_end: &BackEnd, column: &str, id: i64) -> i64 {
    back_end
        .number(&format!(
            "SELECT CAST(COALESCE({column}, -1) AS {}) FROM notifications WHERE id = {id}",
            if back_end.url.starts_with("mysql") {
                "SIGNED"
            } else {
                "INTEGER"
            }
        ))
        .await
}

fn ids(claims: &[NotificationClaim]) -> Vec<i64> {
    claims.iter().map(|claim| claim.id).collect()
}

on_both_back_ends! {
    async fn a_claim_names_whom_to_tell_of_what_and_how(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let claim = claim(back_end, id).await;
        let batch = back_end.number("SELECT id FROM batches").await;
        assert_eq!((claim.id, claim.batch_id, claim.channel, claim.round), (id, batch, Channel::Mail, 0));
        assert_eq!(claim.recipient, "a@b.example");
        assert_eq!(claim.message_key, *format!("{batch:016}").as_bytes());
        assert_eq!((claim.claims, claim.tries, claim.lease), (1, 0, LONG));
    }

    async fn a_running_lease_keeps_others_away_and_one_that_ran_out_does_not(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let notifications = back_end.database.notifications();
        let short = Duration::from_millis(50);
        let first = notifications.claim(id, Channel::Mail, short).await.unwrap();
        assert!(matches!(first, NotificationOutcome::Claimed(_)), "{first:?}");
        let second = eventually("the lease runs out", async || {
            sweep(back_end, Channel::Mail, 10).await.pop()
        })
        .await;
        assert_eq!((second.id, second.claims), (id, 2));
        match notifications.claim(id, Channel::Mail, LONG).await.unwrap() {
            NotificationOutcome::NotDue { in_ } => assert!(in_ <= LONG && in_ > LONG / 2, "{in_:?}"),
            other => panic!("{other:?}"),
        }
        assert!(sweep(back_end, Channel::Mail, 10).await.is_empty());
    }

    async fn channels_do_not_see_each_others_notifications(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let notifications = back_end.database.notifications();
        let other = notifications.claim(id, Channel::Webhook, LONG).await.unwrap();
        assert_eq!(other, NotificationOutcome::Unknown);
        assert!(sweep(back_end, Channel::Webhook, 10).await.is_empty());
        assert_eq!(ids(&sweep(back_end, Channel::Mail, 10).await), [id]);
    }

    async fn what_was_sent_is_sent_and_its_message_finds_nothing(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let claim = claim(back_end, id).await;
        let notifications = back_end.database.notifications();
        notifications.sent(std::slice::from_ref(&claim)).await.unwrap();
        assert_eq!(one(back_end, "state", id).await, 1);
        assert_eq!(one(back_end, "sent_with", id).await, -1);
        let outcome = notifications.claim(id, Channel::Mail, LONG).await.unwrap();
        assert_eq!(outcome, NotificationOutcome::Ended);
        // The answer was lost, and the same worker says it again.
        notifications.sent(&[claim]).await.unwrap();
    }

    async fn a_late_sender_writes_nothing(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let late = [claim(back_end, id).await];
        make_everything_due(back_end).await;
        let current = [claim(back_end, id).await];
        let notifications = back_end.database.notifications();
        for answer in [
            notifications.renew(&late).await,
            notifications.sent(&late).await,
            notifications.fail(&late, "late").await,
            notifications.retry(&late, LONG, "late").await,
            notifications.wait(&late, LONG, "late").await,
            notifications.postpone(&late, LONG).await,
            notifications.disable(&late[0]).await,
            notifications.claim_of_recipient(&late[0], 9).await.map(drop),
        ] {
            assert!(matches!(answer, Err(Error::LostClaim)), "{answer:?}");
        }
        assert_eq!(one(back_end, "state", id).await, 0);
        notifications.sent(&current).await.unwrap();
        let answer = notifications.sent(&late).await;
        assert!(matches!(answer, Err(Error::LostClaim)), "{answer:?}");
    }

    async fn a_wait_counts_no_try_and_a_retry_counts_one(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let notifications = back_end.database.notifications();
        notifications.wait(&[claim(back_end, id).await], MINUTE, "it is away").await.unwrap();
        assert_eq!((one(back_end, "tries", id).await, one(back_end, "claims", id).await), (0, 0));
        match notifications.claim(id, Channel::Mail, LONG).await.unwrap() {
            NotificationOutcome::NotDue { in_ } => assert!(in_ <= MINUTE && in_ > MINUTE / 2, "{in_:?}"),
            other => panic!("{other:?}"),
        }
        make_everything_due(back_end).await;
        notifications.retry(&[claim(back_end, id).await], MINUTE, "not now").await.unwrap();
        assert_eq!((one(back_end, "tries", id).await, one(back_end, "claims", id).await), (1, 0));
        make_everything_due(back_end).await;
        notifications.postpone(&[claim(back_end, id).await], Duration::ZERO).await.unwrap();
        assert_eq!((one(back_end, "tries", id).await, one(back_end, "claims", id).await), (1, 0));
        assert_eq!(back_end.texts("SELECT reason FROM notifications").await, ["not now"]);
        assert_eq!(claim(back_end, id).await.tries, 1);
    }

    async fn what_failed_says_why(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let claim = [claim(back_end, id).await];
        let notifications = back_end.database.notifications();
        notifications.fail(&claim, &"no such user ".repeat(200)).await.unwrap();
        notifications.fail(&claim, "no such user").await.unwrap();
        assert_eq!(one(back_end, "state", id).await, 2);
        let reason = back_end.texts("SELECT reason FROM notifications").await.remove(0);
        assert!(reason.starts_with("no such user") && reason.len() <= 1024, "{reason}");
    }

    async fn the_sweep_takes_the_longest_due_first_and_leaves_what_is_fresh(back_end: &BackEnd) {
        let mut made = Vec::new();
        for due in ["3000", "1000", "2000"] {
            let id = mail(back_end).await;
            back_end.execute(&format!("UPDATE notifications SET available_at = {due} WHERE id = {id}")).await;
            made.push(id);
        }
        mail(back_end).await;
        let notifications = back_end.database.notifications();
        let two = notifications.claim_due(Channel::Mail, 2, MINUTE, LONG).await.unwrap();
        assert_eq!(ids(&two), [made[1], made[2]]);
        assert_ne!(two[0].token, two[1].token);
        let rest = notifications.claim_due(Channel::Mail, 9, MINUTE, LONG).await.unwrap();
        assert_eq!(ids(&rest), [made[0]]);
    }

    async fn eight_claimers_at_once_each_get_their_own(back_end: &BackEnd) {
        for _ in 0..40 {
            mail(back_end).await;
        }
        let start = Arc::new(Barrier::new(8));
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                let (notifications, start) = (back_end.database.notifications(), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    let claimed = notifications.claim_due(Channel::Mail, 5, Duration::ZERO, LONG).await;
                    claimed.unwrap()
                })
            })
            .collect();
        let mut taken = HashSet::new();
        for claimer in claimers {
            for claim in claimer.await.unwrap() {
                assert!(taken.insert(claim.id), "notification {} was taken twice", claim.id);
            }
        }
        assert_eq!(taken.len(), 40);
    }

    async fn what_waits_for_one_recipient_is_claimed_together_and_told_of_once(back_end: &BackEnd) {
        let (first, second, third) = (mail(back_end).await, mail(back_end).await, mail(back_end).await);
        let other = notification(back_end, Channel::Mail, "other@b.example").await;
        let held = mail(back_end).await;
        claim(back_end, held).await;
        let notifications = back_end.database.notifications();
        // One that waits is taken along: a message goes out to its recipient anyway.
        notifications.wait(&[claim(back_end, first).await], MINUTE, "it is away").await.unwrap();

        let claimed = claim(back_end, second).await;
        let together = notifications.claim_of_recipient(&claimed, 9).await.unwrap();
        assert_eq!(ids(&together), [first, second, third]);
        assert!(together.iter().all(|claim| claim.token == claimed.token));
        notifications.renew(&together).await.unwrap();
        notifications.sent(&together).await.unwrap();
        for (id, sent_with) in [(first, -1), (second, first), (third, first)] {
            assert_eq!((one(back_end, "state", id).await, one(back_end, "sent_with", id).await), (1, sent_with));
        }
        assert_eq!((one(back_end, "state", other).await, one(back_end, "state", held).await), (0, 0));
    }

    async fn how_much_somebody_was_told_of_late_is_known(back_end: &BackEnd) {
        let notifications = back_end.database.notifications();
        let mut sent = Vec::new();
        for _ in 0..3 {
            let id = mail(back_end).await;
            sent.push(claim(back_end, id).await);
        }
        let waiting = claim(back_end, mail(back_end).await).await;
        let asked = notifications.correspondence(&waiting, MINUTE).await.unwrap();
        assert_eq!(asked, Correspondence { sent: 0, first_sent: None, waiting: 3 });

        notifications.sent(&sent[..1]).await.unwrap();
        // Two in one message count as one.
        let token = sent[1].token;
        back_end.execute(&format!(
            "UPDATE notifications SET token = (SELECT token FROM (SELECT token FROM notifications WHERE id = {}) AS other) WHERE id = {}",
            sent[1].id, sent[2].id
        )).await;
        sent[2].token = token;
        notifications.sent(&sent[1..]).await.unwrap();
        let asked = notifications.correspondence(&waiting, MINUTE).await.unwrap();
        assert_eq!((asked.sent, asked.waiting), (2, 0));
        assert!(asked.first_sent.unwrap() < MINUTE, "{asked:?}");

        back_end.execute("UPDATE notifications SET ended_at = ended_at - 60000 WHERE state = 1").await;
        assert_eq!(notifications.correspondence(&waiting, MINUTE).await.unwrap().sent, 0);
    }

    async fn a_notification_can_be_sent_again_under_the_same_key(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let first = claim(back_end, id).await;
        let notifications = back_end.database.notifications();
        assert_eq!(notifications.resend(id, false).await.unwrap(), Resend::Waits);
        notifications.fail(std::slice::from_ref(&first), "no such user").await.unwrap();
        assert_eq!(notifications.resend(id, false).await.unwrap(), Resend::Again);
        assert_eq!(back_end.texts("SELECT topic FROM outbox").await, ["mail"]);
        assert_eq!(back_end.number("SELECT subject FROM outbox").await, id);
        let second = claim(back_end, id).await;
        assert_eq!((second.message_key, second.tries, second.claims), (first.message_key, 0, 1));
        assert_eq!(notifications.resend(4711, false).await.unwrap(), Resend::Unknown);
        notifications.sent(&[second]).await.unwrap();
        assert_eq!(notifications.resend(id, false).await.unwrap(), Resend::Again, "what was sent, too");
    }

    async fn an_operator_sees_the_newest_first_by_state_channel_and_job(back_end: &BackEnd) {
        let url = "https://hooks.example/a";
        let (sent, failed) = (mail(back_end).await, mail(back_end).await);
        let called = notification(back_end, Channel::Webhook, url).await;
        let notifications = back_end.database.notifications();
        notifications.sent(&[claim(back_end, sent).await]).await.unwrap();
        notifications.fail(&[claim(back_end, failed).await], "no such user").await.unwrap();
        let asked = async |query: NotificationQuery, before| -> Vec<i64> {
            let listed = notifications.list(&query, before).await.unwrap();
            listed.iter().map(|notification| notification.id).collect()
        };
        assert_eq!(asked(NotificationQuery::default(), None).await, [called, failed, sent]);
        assert_eq!(asked(NotificationQuery::default(), Some(called)).await, [failed, sent]);
        let states = vec![NotificationState::Ready, NotificationState::Sent];
        assert_eq!(asked(NotificationQuery { states, ..Default::default() }, None).await, [called, sent]);
        let of_mails = NotificationQuery { channel: Some(Channel::Mail), ..Default::default() };
        assert_eq!(asked(of_mails, None).await, [failed, sent]);

        let all = notifications.list(&NotificationQuery::default(), None).await.unwrap();
        let of_job = NotificationQuery { batch_id: Some(all[1].batch_id), ..Default::default() };
        assert_eq!(notifications.list(&of_job, None).await.unwrap(), [all[1].clone()]);
        assert_eq!((all[1].recipient.as_str(), all[1].channel), ("a@b.example", Channel::Mail));
        assert_eq!((all[1].state, all[1].reason.as_deref()), (NotificationState::Failed, Some("no such user")));
        assert!(all[1].ended_at_ms.is_some() && all[0].ended_at_ms.is_none());
        assert!(!all[0].disabled);
        notifications.disable(&sweep(back_end, Channel::Webhook, 1).await[0]).await.unwrap();
        let disabled = notifications.list(&NotificationQuery::default(), None).await.unwrap();
        assert!(disabled[0].disabled && !disabled[1].disabled);
    }

    async fn an_address_that_wants_no_calls_gets_none_until_it_is_enabled(back_end: &BackEnd) {
        let url = "https://hooks.example/a";
        let (first, second) = (
            notification(back_end, Channel::Webhook, url).await,
            notification(back_end, Channel::Webhook, url).await,
        );
        let other = notification(back_end, Channel::Webhook, "https://hooks.example/b").await;
        let notifications = back_end.database.notifications();
        let claims = sweep(back_end, Channel::Webhook, 1).await;
        assert_eq!(ids(&claims), [first]);
        assert_eq!(notifications.disabled(&claims[0]).await.unwrap(), None);
        notifications.disable(&claims[0]).await.unwrap();
        notifications.disable(&claims[0]).await.unwrap();
        let why = notifications.disabled(&claims[0]).await.unwrap().unwrap();
        assert_eq!(why, "the address asked not to be called again");
        for id in [first, second] {
            assert_eq!(one(back_end, "state", id).await, 2);
        }
        assert_eq!(one(back_end, "state", other).await, 0);
        assert_eq!(notifications.resend(second, false).await.unwrap(), Resend::Disabled);
        assert_eq!(one(back_end, "state", second).await, 2);
        assert_eq!(notifications.resend(second, true).await.unwrap(), Resend::Again);
        assert_eq!(one(back_end, "state", second).await, 0);
        assert_eq!(notifications.disabled(&claims[0]).await.unwrap(), None);
    }

    async fn a_letter_tells_what_became_of_each_image(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let batch = claim(back_end, id).await.batch_id;
        back_end.execute(&format!(
            "INSERT INTO images (path, status, reason, batch_id) VALUES ('/in/sub/film.mp4', 2, '1 of 2 tasks failed', {batch})"
        )).await;
        let film = back_end.number("SELECT MAX(id) FROM images").await;
        for sql in [
            "INSERT INTO tasks (image_id, kind, state, reason) VALUES (FILM, 'gif', 2, 'it has no frame')",
            "INSERT INTO tasks (image_id, kind, state) VALUES (FILM, 'frame', 1)",
            "INSERT INTO outputs (image_id, role, uri, content_type, width, bytes, content_hash) \
             VALUES (FILM, 'frame', '/out/clip_f.png', 'image/png', 640, 1234, '')",
            "INSERT INTO person (name) VALUES ('obama')",
            "UPDATE images SET person_id = (SELECT id FROM person) WHERE id = FILM",
        ] {
            back_end.execute(&sql.replace("FILM", &film.to_string())).await;
        }
        let notifications = back_end.database.notifications();
        let letter = notifications.letter(batch).await.unwrap().unwrap();
        assert_eq!((letter.images_total, letter.processed, letter.failed), (2, 1, 1));
        assert_eq!(letter.joined_at_ms, Some(2));
        let (cat, film) = (&letter.images[0], &letter.images[1]);
        assert_eq!((cat.name.as_str(), cat.status), ("cat.png", Status::Processed));
        assert!(cat.outputs.is_empty() && cat.failed_tasks.is_empty() && cat.people.is_empty());
        assert_eq!((film.name.as_str(), film.status), ("film.mp4", Status::Failed));
        assert_eq!(film.failed_tasks.len(), 1);
        assert_eq!(film.failed_tasks[0].reason.as_deref(), Some("it has no frame"));
        let output = &film.outputs[0];
        assert_eq!((output.role.as_str(), output.width, output.height, output.bytes), ("frame", Some(640), None, 1234));
        assert_eq!(film.people, ["obama"]);
        assert_eq!(notifications.letter(4711).await.unwrap(), None);
    }

    async fn a_letter_about_many_images_names_the_first_and_counts_all(back_end: &BackEnd) {
        let id = mail(back_end).await;
        let batch = claim(back_end, id).await.batch_id;
        for number in 1..60 {
            back_end.execute(&format!(
                "INSERT INTO images (path, status, batch_id) VALUES ('/in/{batch}/{number}', 1, {batch})"
            )).await;
        }
        let letter = back_end.database.notifications().letter(batch).await.unwrap().unwrap();
        assert_eq!((letter.images_total, letter.processed, letter.images.len()), (60, 60, 50));
        assert_eq!(letter.images[0].name, "cat.png");
    }

    async fn a_summary_of_a_job_names_the_first_image_that_failed_else_the_first(back_end: &BackEnd) {
        let (well, ill) = (
            claim(back_end, mail(back_end).await).await.batch_id,
            claim(back_end, mail(back_end).await).await.batch_id,
        );
        for (status, path, reason) in [(1, "/in/b.png", "NULL"), (2, "/in/c.png", "'bad'"), (2, "/in/d.png", "'worse'")] {
            back_end.execute(&format!(
                "INSERT INTO images (path, status, reason, batch_id) VALUES ('{path}', {status}, {reason}, {ill})"
            )).await;
        }
        let summaries = back_end.database.notifications().summaries(&[ill, 4711, well]).await.unwrap();
        let told: Vec<_> = summaries
            .iter()
            .map(|job| (job.batch_id, job.images_total, job.failed, &*job.name, job.reason.as_deref()))
            .collect();
        assert_eq!(told, [(ill, 4, 2, "c.png", Some("bad")), (well, 1, 0, "cat.png", None)]);
        let failed = back_end.number("SELECT MIN(id) FROM images WHERE status = 2").await;
        assert_eq!(summaries[0].image_id, failed);
    }

    async fn the_backlog_of_a_channel_is_counted(back_end: &BackEnd) {
        let notifications = back_end.database.notifications();
        let (held, waiting) = (mail(back_end).await, mail(back_end).await);
        mail(back_end).await;
        claim(back_end, held).await;
        notifications.wait(&[claim(back_end, waiting).await], MINUTE, "it is away").await.unwrap();
        let backlog = notifications.backlog(Channel::Mail).await.unwrap();
        assert_eq!((backlog.ready, backlog.leased, backlog.waiting), (1, 1, 1));
        let none = notifications.backlog(Channel::Webhook).await.unwrap();
        assert_eq!((none.ready, none.leased, none.waiting), (0, 0, 0));
    }
}
