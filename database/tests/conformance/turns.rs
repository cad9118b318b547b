//! Senders take turns, however much each of them has sent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Claim, ClaimOutcome, Fault, NewBatch, NewImage, Prepared, RedeemQuery, TaskKind};
use tokio::sync::Barrier;

use crate::back_end::{BackEnd, LONG, images, on_both_back_ends, recognized};

const IDENTIFY: TaskKind = TaskKind::Identify;

async fn post(back_end: &BackEnd, project: &str, count: usize) {
    let image = |number| NewImage {
        path: format!("/{project}/{number}.jpg"),
        project: Some(project.to_owned()),
    };
    let images: Vec<_> = (0..count).map(image).collect();
    back_end.database.images().accept(&images).await.unwrap();
}

async fn post_for(back_end: &BackEnd, address: &str, count: usize) {
    let batch = NewBatch {
        sender: Some(format!("mail:{address}")),
        email: Some(address.to_owned()),
        webhook: None,
    };
    let images = images((0..count).map(|number| format!("/{address}/{number}.jpg")));
    back_end
        .database
        .images()
        .accept_batch(&batch, &images)
        .await
        .unwrap();
}

/// What a worker gets to whom any message came.
async fn next(back_end: &BackEnd, kind: TaskKind) -> Option<Claim> {
    let id = match kind {
        IDENTIFY => "SELECT MAX(id) FROM images".to_owned(),
        kind => format!("SELECT MAX(id) FROM tasks WHERE kind = '{}'", kind.as_str()),
    };
    let subject = back_end.number(&id).await;
    match back_end
        .database
        .tasks()
        .claim_next(subject, kind, LONG)
        .await
        .unwrap()
    {
        ClaimOutcome::Claimed(claim) => Some(claim),
        ClaimOutcome::NotDue { .. } | ClaimOutcome::Ended => None,
        ClaimOutcome::Unknown => panic!("there is no image {subject}"),
    }
}

/// Whose work the next ones are that are begun, by the first letter of their paths.
async fn next_of(back_end: &BackEnd, kind: TaskKind, count: usize) -> String {
    let mut whose = String::new();
    for _ in 0..count {
        let claim = next(back_end, kind).await.unwrap();
        whose.extend(claim.path.chars().nth(1));
    }
    whose
}

async fn retry(back_end: &BackEnd, claim: &Claim) {
    let tasks = back_end.database.tasks();
    tasks
        .retry(claim, Duration::ZERO, Fault::Internal, "again", 5)
        .await
        .unwrap();
}

on_both_back_ends! {
    async fn who_posts_a_thousand_does_not_hold_up_anothers_first(back_end: &BackEnd) {
        post(back_end, "a", 1_000).await;
        assert_eq!(next_of(back_end, IDENTIFY, 30).await, "a".repeat(30));
        post(back_end, "b", 1).await;
        let whose = next_of(back_end, IDENTIFY, 3).await;
        assert!(whose.contains('b'), "b came after {whose}");
    }

    async fn who_posts_a_thousand_one_by_one_does_not_either(back_end: &BackEnd) {
        for number in 0..50 {
            let image = NewImage { path: format!("/a/{number}.jpg"), project: Some("a".to_owned()) };
            back_end.database.images().accept(&[image]).await.unwrap();
        }
        post(back_end, "b", 2).await;
        back_end.accept("/nobody.jpg").await;
        let whose = next_of(back_end, IDENTIFY, 5).await;
        assert_eq!(whose.matches('b').count(), 2, "{whose}");
        assert!(whose.contains('n'), "{whose}");
    }

    async fn two_who_have_much_are_served_one_after_the_other(back_end: &BackEnd) {
        post(back_end, "a", 20).await;
        post(back_end, "b", 20).await;
        assert_eq!(next_of(back_end, IDENTIFY, 12).await, "ab".repeat(6));
    }

    async fn who_was_away_has_saved_up_no_turns(back_end: &BackEnd) {
        post(back_end, "b", 1).await;
        post(back_end, "a", 300).await;
        next_of(back_end, IDENTIFY, 200).await;
        post(back_end, "b", 20).await;
        assert_eq!(next_of(back_end, IDENTIFY, 12).await.matches('b').count(), 6);
    }

    async fn after_all_is_done_a_new_one_starts_level_with_the_others(back_end: &BackEnd) {
        post(back_end, "a", 20).await;
        while let Some(claim) = next(back_end, IDENTIFY).await {
            back_end.database.tasks().complete(&claim, &recognized(&[])).await.unwrap();
        }
        post(back_end, "b", 20).await;
        back_end.execute("DELETE FROM outbox").await;
        let image = NewImage { path: "/a/late.jpg".to_owned(), project: Some("a".to_owned()) };
        back_end.database.images().accept(&[image]).await.unwrap();
        assert!(next_of(back_end, IDENTIFY, 3).await.contains('a'));
    }

    async fn a_job_of_a_thousand_does_not_hold_up_anothers_first(back_end: &BackEnd) {
        post_for(back_end, "a@b.c", 1_000).await;
        assert_eq!(next_of(back_end, TaskKind::Prepare, 30).await, "a".repeat(30));
        post_for(back_end, "b@b.c", 1).await;
        assert!(next_of(back_end, TaskKind::Prepare, 3).await.contains('b'));
    }

    async fn what_is_made_of_a_job_takes_turns_too(back_end: &BackEnd) {
        let prepared = Prepared {
            content_type: "image/jpeg".to_owned(),
            bytes: 7,
            width: 640,
            height: 480,
            tasks: vec![TaskKind::Thumbnail],
        };
        for (address, count) in [("a@b.c", 30), ("b@b.c", 2)] {
            post_for(back_end, address, count).await;
            for _ in 0..count {
                let claim = next(back_end, TaskKind::Prepare).await.unwrap();
                back_end.database.tasks().complete_prepare(&claim, &prepared).await.unwrap();
            }
        }
        let whose = next_of(back_end, TaskKind::Thumbnail, 4).await;
        assert_eq!(whose.matches('b').count(), 2, "{whose}");
    }

    async fn what_is_filled_in_behind_comes_after_what_people_wait_for(back_end: &BackEnd) {
        let failed = back_end.accept("/old.jpg").await;
        let claim = back_end.claim(failed.id).await;
        back_end.database.tasks().fail(&claim, Fault::Storage, "away").await.unwrap();
        let query = RedeemQuery {
            kinds: Vec::new(),
            faults: vec!["storage".to_owned()],
            reason: None,
            older: Duration::ZERO,
            younger: LONG,
        };
        let tasks = back_end.database.tasks();
        let failed = tasks.failed(&query, &query.start()).await.unwrap().tasks;
        assert_eq!(tasks.redeem(&query, &failed, false).await.unwrap().tasks.len(), 1);
        post(back_end, "a", 5).await;
        assert_eq!(next_of(back_end, IDENTIFY, 6).await, "aaaaao");
    }

    async fn what_was_put_back_comes_when_nothing_new_waits(back_end: &BackEnd) {
        post(back_end, "a", 3).await;
        let first = next(back_end, IDENTIFY).await.unwrap();
        retry(back_end, &first).await;
        for _ in 0..2 {
            assert_ne!(next(back_end, IDENTIFY).await.unwrap().task_id, first.task_id);
        }
        assert_eq!(next(back_end, IDENTIFY).await.unwrap().task_id, first.task_id);
        assert_eq!(next(back_end, IDENTIFY).await, None);
    }

    async fn what_a_worker_gave_back_keeps_its_turn(back_end: &BackEnd) {
        post(back_end, "a", 3).await;
        let first = next(back_end, IDENTIFY).await.unwrap();
        back_end.database.tasks().release(&first).await.unwrap();
        assert_eq!(next(back_end, IDENTIFY).await.unwrap().task_id, first.task_id);
    }

    async fn the_sweep_takes_turns_as_messages_do(back_end: &BackEnd) {
        post(back_end, "a", 100).await;
        post(back_end, "b", 1).await;
        back_end.make_everything_due().await;
        let swept = back_end.database.tasks().claim_due(IDENTIFY, 2, LONG, LONG).await.unwrap();
        assert!(swept.claims.iter().any(|claim| claim.path.starts_with("/b/")), "{swept:?}");
    }

    async fn what_crashed_its_workers_is_failed_and_holds_up_nobody(back_end: &BackEnd) {
        let bad = back_end.accept("/bad.jpg").await;
        let good = back_end.accept("/good.jpg").await;
        back_end
            .execute(&format!("UPDATE tasks SET claims = 3 WHERE image_id = {}", bad.id))
            .await;
        assert_eq!(next(back_end, IDENTIFY).await.unwrap().image_id, good.id);
        assert_eq!(back_end.number("SELECT status FROM images WHERE path = '/bad.jpg'").await, 2);
    }

    async fn an_image_that_another_program_wrote_is_begun_by_its_own_message(back_end: &BackEnd) {
        post(back_end, "a", 3).await;
        back_end.execute("INSERT INTO images (path, status) VALUES ('/theirs.jpg', 0)").await;
        assert_eq!(next(back_end, IDENTIFY).await.unwrap().path, "/theirs.jpg");
    }

    async fn of_many_messages_at_once_each_brings_another_task(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..80).map(|number| format!("/{number}.jpg"))).await;
        let start = Arc::new(Barrier::new(8));
        let workers: Vec<_> = (0..8)
            .map(|worker| {
                let (tasks, start) = (back_end.database.tasks(), Arc::clone(&start));
                let subjects: Vec<i64> =
                    accepted.iter().skip(worker).step_by(8).map(|image| image.id).collect();
                tokio::spawn(async move {
                    start.wait().await;
                    let mut taken = Vec::new();
                    for subject in subjects {
                        match tasks.claim_next(subject, IDENTIFY, LONG).await.unwrap() {
                            ClaimOutcome::Claimed(claim) => taken.push(claim.task_id),
                            other => panic!("{other:?}"),
                        }
                    }
                    taken
                })
            })
            .collect();
        let mut taken = HashSet::new();
        for worker in workers {
            for task in worker.await.unwrap() {
                assert!(taken.insert(task), "task {task} was taken twice");
            }
        }
        assert_eq!(taken.len(), 80);
    }
}
