use std::time::Duration;

use safelight_database::{Fault, RedeemQuery, RedeemableTask, Redeemed, Status, TaskKind, Tasks};

use crate::back_end::{BackEnd, LONG, on_both_back_ends};

const HOUR: Duration = Duration::from_secs(3600);

/// Everything with this fault that failed within the last hour.
fn faults(faults: &[&str]) -> RedeemQuery {
    RedeemQuery {
        kinds: Vec::new(),
        faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
        reason: None,
        older: Duration::ZERO,
        younger: HOUR,
    }
}

/// All pages, and how many there were.
async fn all_failed(tasks: &Tasks, query: &RedeemQuery) -> (Vec<RedeemableTask>, usize) {
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut position = Some(query.start());
    while let Some(at) = position {
        let page = tasks.failed(query, &at).await.unwrap();
        found.extend(page.tasks);
        position = page.next;
        pages += 1;
    }
    (found, pages)
}

async fn redeem_all(back_end: &BackEnd, query: &RedeemQuery, notify: bool) -> Redeemed {
    let tasks = back_end.database.tasks();
    let (failed, _) = all_failed(&tasks, query).await;
    tasks.redeem(query, &failed, notify).await.unwrap()
}

/// An image that was posted, whose task to identify it has failed so many seconds ago.
async fn failed(back_end: &BackEnd, path: &str, fault: &str, reason: &str, seconds_ago: i64) -> i64 {
    let image = back_end.accept(path).await;
    let claim = back_end.claim(image.id).await;
    back_end
        .database
        .tasks()
        .fail(&claim, Fault::Bad, reason)
        .await
        .unwrap();
    back_end
        .execute(&format!(
            "UPDATE tasks SET fault = {fault}, ended_at = ended_at - {seconds_ago} * 1000 WHERE image_id = {}",
            image.id
        ))
        .await;
    back_end.execute("DELETE FROM outbox").await;
    image.id
}

/// A joined batch of one image, whose frame is made and whose GIF and thumbnail have failed.
async fn joined_batch(back_end: &BackEnd) {
    back_end
        .execute(
            "INSERT INTO batches (id, email, sealed_at, joined_at) VALUES (7, 'a@example.org', 1000, 2000)",
        )
        .await;
    back_end
        .execute("INSERT INTO images (id, path, batch_id, status, reason) VALUES (70, '/film', 7, 2, '2 of 3 failed')")
        .await;
    back_end
        .execute("UPDATE images SET duration_ms = 12 WHERE id = 70")
        .await;
    for (id, kind, state, fault) in [
        (701, "frame", 1, "NULL"),
        (702, "gif", 2, "'timeout'"),
        (703, "thumbnail", 2, "'bad'"),
    ] {
        back_end
            .execute(&format!(
                "INSERT INTO tasks (id, image_id, batch_id, kind, state, fault, tries, claims, waits, lane) \
                 VALUES ({id}, 70, 7, '{kind}', {state}, {fault}, 5, 1, 2, 100)"
            ))
            .await;
    }
    // What the default of `available_at` says the database's clock was then.
    back_end
        .execute("UPDATE tasks SET started_at = available_at, ended_at = available_at WHERE image_id = 70")
        .await;
}

on_both_back_ends! {
    async fn a_failed_image_is_redeemed_and_worked_on_as_if_it_were_new(back_end: &BackEnd) {
        let id = failed(back_end, "/a.jpg", "'storage'", "the disk is away", 0).await;
        let redeemed = redeem_all(back_end, &faults(&["storage"]), false).await;
        assert_eq!((redeemed.tasks.len(), redeemed.reopened), (1, 0));
        assert_eq!(redeemed.tasks[0].reason.as_deref(), Some("the disk is away"));

        let detail = back_end.image(id).await;
        assert_eq!((detail.image.status, detail.image.reason), (Status::Pending, None));
        assert_eq!(detail.tasks[0].started_at_ms, None);
        assert_eq!(detail.tasks[0].ended_at_ms, None);
        assert_eq!(detail.tasks[0].reason.as_deref(), Some("the disk is away"));
        let claim = back_end.claim(id).await;
        assert_eq!((claim.claims, claim.tries), (1, 0));
    }

    /// As [`TaskKind::topic`] says: the image's id for an image, the task's for all other work.
    async fn a_message_tells_of_each_task_that_is_redeemed(back_end: &BackEnd) {
        let id = failed(back_end, "/a.jpg", "'timeout'", "no answer", 0).await;
        back_end.execute("UPDATE tasks SET id = 555").await;
        joined_batch(back_end).await;
        redeem_all(back_end, &faults(&["timeout"]), false).await;
        let entries = back_end.database.outbox().claim(10, LONG).await.unwrap();
        let mut told: Vec<_> = entries
            .iter()
            .map(|entry| (entry.topic.as_str(), i64::from_le_bytes(entry.body.clone().try_into().unwrap())))
            .collect();
        told.sort_unstable();
        assert_eq!(told, [(TaskKind::Gif.topic(), 702), (TaskKind::Identify.topic(), id)]);
    }

    async fn a_redeemed_task_is_ready_unclaimed_and_behind_what_people_wait_for(back_end: &BackEnd) {
        joined_batch(back_end).await;
        redeem_all(back_end, &faults(&["timeout"]), false).await;
        let ready = "SELECT COUNT(*) FROM tasks WHERE id = 702 AND state = 0 AND tries = 0 AND claims = 0 \
                     AND token IS NULL AND waiting_for IS NULL AND fault IS NULL AND lane = 1 \
                     AND started_at IS NULL AND ended_at IS NULL";
        assert_eq!(back_end.number(ready).await, 1);
        let image = "SELECT COUNT(*) FROM images WHERE id = 70 AND status = 0 AND reason IS NULL AND duration_ms IS NULL";
        assert_eq!(back_end.number(image).await, 1);
        let others = "SELECT COUNT(*) FROM tasks WHERE (id = 701 AND state = 1) OR (id = 703 AND state = 2 AND fault = 'bad')";
        assert_eq!(back_end.number(others).await, 2);
    }

    async fn only_the_faults_asked_for_are_redeemed(back_end: &BackEnd) {
        for fault in ["bad", "limit", "crashed", "timeout", "storage", "internal"] {
            failed(back_end, &format!("/{fault}.jpg"), &format!("'{fault}'"), "why", 0).await;
        }
        redeem_all(back_end, &faults(&["timeout", "internal"]), false).await;
        let ready = back_end.texts("SELECT path FROM images WHERE status = 0 ORDER BY path").await;
        assert_eq!(ready, ["/internal.jpg", "/timeout.jpg"]);
    }

    async fn a_task_without_a_fault_is_redeemed_as_unknown_or_by_its_reason(back_end: &BackEnd) {
        failed(back_end, "/100%.jpg", "NULL", "the disk is 100% full", 0).await;
        failed(back_end, "/1000.jpg", "NULL", "the disk is 1000 full", 0).await;
        let mut query = faults(&["timeout"]);
        assert_eq!(redeem_all(back_end, &query, false).await.tasks, []);
        query.reason = Some("Disk is 100% F".to_owned());
        assert_eq!(redeem_all(back_end, &query, false).await.tasks.len(), 1);
        assert_eq!(back_end.texts("SELECT path FROM images WHERE status = 0").await, ["/100%.jpg"]);
        assert_eq!(redeem_all(back_end, &faults(&["unknown"]), false).await.tasks.len(), 1);
    }

    async fn only_what_failed_in_the_time_asked_for_is_redeemed(back_end: &BackEnd) {
        for seconds in [10, 1_000, 100_000] {
            failed(back_end, &format!("/{seconds}"), "'storage'", "why", seconds).await;
        }
        let query = RedeemQuery { older: Duration::from_secs(600), ..faults(&["storage"]) };
        redeem_all(back_end, &query, false).await;
        assert_eq!(back_end.texts("SELECT path FROM images WHERE status = 0").await, ["/1000"]);
    }

    async fn only_the_kinds_asked_for_are_redeemed(back_end: &BackEnd) {
        failed(back_end, "/a.jpg", "'timeout'", "no answer", 0).await;
        joined_batch(back_end).await;
        let query = RedeemQuery { kinds: vec![TaskKind::Gif, TaskKind::Frame], ..faults(&["timeout"]) };
        let redeemed = redeem_all(back_end, &query, false).await;
        assert_eq!(redeemed.tasks.iter().map(|task| task.kind).collect::<Vec<_>>(), [TaskKind::Gif]);
    }

    /// A newer program's: nobody here knows whom to tell of them.
    async fn a_task_of_a_kind_that_nobody_knows_is_left_alone(back_end: &BackEnd) {
        failed(back_end, "/a.jpg", "'timeout'", "no answer", 0).await;
        back_end.execute("UPDATE tasks SET kind = 'hologram'").await;
        assert_eq!(redeem_all(back_end, &faults(&["timeout"]), false).await.tasks, []);
    }

    async fn looking_changes_nothing(back_end: &BackEnd) {
        failed(back_end, "/a.jpg", "'timeout'", "no answer", 0).await;
        let (found, _) = all_failed(&back_end.database.tasks(), &faults(&["timeout"])).await;
        assert_eq!(found.len(), 1);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks WHERE state = 2").await, 1);
        assert_eq!(back_end.database.outbox().pending().await.unwrap(), 0);
    }

    async fn a_task_that_is_not_failed_any_more_is_not_touched(back_end: &BackEnd) {
        let mut ids = Vec::new();
        for name in ["claimed", "done", "bad now", "still failed"] {
            ids.push(failed(back_end, name, "'timeout'", "no answer", 0).await);
        }
        let (tasks, query) = (back_end.database.tasks(), faults(&["timeout"]));
        let (seen, _) = all_failed(&tasks, &query).await;
        assert_eq!(seen.len(), 4);

        tasks.redeem(&query, &seen[..3], false).await.unwrap();
        let claim = back_end.claim(ids[0]).await;
        back_end.execute(&format!("UPDATE tasks SET state = 1, fault = 'timeout', ended_at = available_at WHERE image_id = {}", ids[1])).await;
        let bad = back_end.claim(ids[2]).await;
        tasks.fail(&bad, Fault::Bad, "not a picture").await.unwrap();

        let redeemed = tasks.redeem(&query, &seen, false).await.unwrap();
        assert_eq!(redeemed.tasks.iter().map(|task| task.image_id).collect::<Vec<_>>(), [ids[3]]);
        assert_eq!(back_end.image(ids[0]).await.image.status, Status::Processing);
        tasks.renew(&claim).await.unwrap();
        assert_eq!(back_end.image(ids[2]).await.image.status, Status::Failed);
    }

    async fn an_image_whose_other_task_is_under_way_stays_in_processing(back_end: &BackEnd) {
        joined_batch(back_end).await;
        back_end.execute("UPDATE images SET status = 3 WHERE id = 70").await;
        assert_eq!(redeem_all(back_end, &faults(&["timeout"]), false).await.tasks.len(), 1);
        assert_eq!(back_end.image(70).await.image.status, Status::Processing);
    }

    async fn a_joined_batch_stays_joined_and_nobody_is_told_again(back_end: &BackEnd) {
        joined_batch(back_end).await;
        let redeemed = redeem_all(back_end, &faults(&["timeout"]), false).await;
        assert_eq!((redeemed.tasks.len(), redeemed.reopened), (1, 0));
        assert_eq!(back_end.number("SELECT COUNT(*) FROM batches WHERE joined_at = 2000 AND round = 0").await, 1);
    }

    async fn a_batch_that_is_to_be_told_of_again_is_opened_once(back_end: &BackEnd) {
        joined_batch(back_end).await;
        let redeemed = redeem_all(back_end, &faults(&["timeout"]), true).await;
        assert_eq!((redeemed.tasks.len(), redeemed.reopened), (1, 1));
        let again = redeem_all(back_end, &faults(&["bad"]), true).await;
        assert_eq!((again.tasks.len(), again.reopened), (1, 0));
        let open = "SELECT COUNT(*) FROM batches WHERE joined_at IS NULL AND sealed_at = 1000 AND round = 1";
        assert_eq!(back_end.number(open).await, 1);
    }

    async fn each_task_is_redeemed_by_one_of_many_who_try(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..300).map(|number| format!("/{number}"))).await;
        back_end.execute("UPDATE tasks SET state = 2, fault = 'storage', ended_at = available_at").await;
        back_end.execute("UPDATE images SET status = 2").await;
        back_end.execute("DELETE FROM outbox").await;
        let query = faults(&["storage"]);
        let (seen, _) = all_failed(&back_end.database.tasks(), &query).await;
        assert_eq!(seen.len(), accepted.len());

        let redeemers: Vec<_> = (0..4)
            .map(|number| {
                let (tasks, query, mut seen) = (back_end.database.tasks(), query.clone(), seen.clone());
                if number % 2 == 1 {
                    seen.reverse();
                }
                tokio::spawn(async move { tasks.redeem(&query, &seen, false).await.unwrap().tasks.len() })
            })
            .collect();
        let mut redeemed = 0;
        for redeemer in redeemers {
            redeemed += redeemer.await.unwrap();
        }
        assert_eq!(redeemed, accepted.len());
        assert_eq!(back_end.database.outbox().pending().await.unwrap(), accepted.len() as u64);
    }

    async fn all_pages_together_show_each_failed_task_once(back_end: &BackEnd) {
        back_end.accept_all((0..1_200).map(|number| format!("/{number}"))).await;
        // Many with one time, as those are that were claimed together.
        back_end.execute(
            "UPDATE tasks SET state = 2, fault = CASE WHEN id % 3 = 0 THEN 'bad' ELSE 'storage' END, \
             ended_at = available_at, available_at = 1000 + id % 2",
        ).await;
        back_end.execute("UPDATE tasks SET kind = 'gif' WHERE id % 4 = 0").await;
        let (seen, pages) = all_failed(&back_end.database.tasks(), &faults(&["storage"])).await;
        let mut ids: Vec<i64> = seen.iter().map(|task| task.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let there = back_end.number("SELECT COUNT(*) FROM tasks WHERE fault = 'storage'").await;
        assert_eq!((ids.len() as i64, seen.len()), (there, ids.len()));
        assert_eq!(pages, 3, "500 a page");
    }
}
