use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use safelight_database::{ClaimOutcome, DueClaims, Error, Fault, MAX_CLAIMS, Status, TaskKind};
use tokio::sync::Barrier;

use crate::back_end::{BackEnd, LONG, eventually, on_both_back_ends, recognized};

const IDENTIFY: TaskKind = TaskKind::Identify;

async fn sweep(back_end: &BackEnd, limit: u32) -> DueClaims {
    back_end
        .database
        .tasks()
        .claim_due(IDENTIFY, limit, Duration::ZERO, LONG)
        .await
        .unwrap()
}

on_both_back_ends! {
    async fn a_claim_names_the_work_and_shows_the_image_as_processing(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(image.id).await;
        assert_eq!((claim.image_id, claim.path.as_str(), claim.kind), (image.id, "/a.jpg", IDENTIFY));
        assert_eq!((claim.claims, claim.tries, claim.lease), (1, 0, LONG));
        assert_eq!(back_end.image(image.id).await.image.status, Status::Processing);
    }

    async fn a_claim_is_counted_before_the_work_begins(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        back_end.claim(image.id).await;
        assert_eq!(back_end.image(image.id).await.tasks[0].claims, 1);
    }

    async fn a_running_lease_keeps_others_away(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        back_end.claim(image.id).await;
        let tasks = back_end.database.tasks();
        match tasks.claim_subject(image.id, IDENTIFY, LONG).await.unwrap() {
            ClaimOutcome::NotDue { in_ } => assert!(in_ <= LONG && in_ > LONG / 2, "{in_:?}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(sweep(back_end, 10).await, DueClaims::default());
    }

    async fn a_lease_that_ran_out_is_taken_over(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let tasks = back_end.database.tasks();
        let short = Duration::from_millis(50);
        let first = match tasks.claim_subject(image.id, IDENTIFY, short).await.unwrap() {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        };
        let second = eventually("the lease runs out", async || sweep(back_end, 10).await.claims.pop()).await;
        assert_eq!((second.task_id, second.claims), (first.task_id, 2));
        assert_ne!(second.token, first.token);
    }

    async fn a_late_finisher_writes_nothing(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let late = back_end.claim(image.id).await;
        back_end.make_everything_due().await;
        let current = back_end.claim(image.id).await;
        let before = back_end.image(image.id).await;

        let tasks = back_end.database.tasks();
        let answers = [
            tasks.renew(&late).await,
            tasks.complete(&late, &recognized(&[("obama", 0.1)])).await,
            tasks.fail(&late, Fault::Bad, "late").await,
            tasks.retry(&late, LONG, Fault::Internal, "late", 5).await.map(drop),
            tasks.wait(&late, LONG, "recognizer", "late").await,
            tasks.interrupted(&late, LONG, "recognizer", "late").await,
            tasks.release(&late).await,
        ];
        for answer in answers {
            assert!(matches!(answer, Err(Error::LostClaim)), "{answer:?}");
        }
        assert_eq!(back_end.image(image.id).await, before);

        tasks.complete(&current, &recognized(&[("biden", 0.2)])).await.unwrap();
        let answer = tasks.complete(&late, &recognized(&[("obama", 0.1)])).await;
        assert!(matches!(answer, Err(Error::LostClaim)), "{answer:?}");
        assert_eq!(back_end.image(image.id).await.image.people, ["biden"]);
    }

    async fn a_lease_that_ran_out_untaken_does_not_undo_the_work(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(image.id).await;
        back_end.make_everything_due().await;
        back_end.database.tasks().complete(&claim, &recognized(&[])).await.unwrap();
        assert_eq!(back_end.image(image.id).await.image.status, Status::Processed);
    }

    async fn renewing_lets_the_lease_run_anew(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(image.id).await;
        back_end.make_everything_due().await;
        back_end.database.tasks().renew(&claim).await.unwrap();
        assert_eq!(sweep(back_end, 10).await, DueClaims::default());
        assert_eq!(back_end.image(image.id).await.tasks[0].claims, 1);
    }

    async fn an_image_that_crashed_three_workers_is_failed_by_the_next_message(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        for claims in 1..=MAX_CLAIMS {
            assert_eq!(back_end.claim(image.id).await.claims, claims);
            back_end.make_everything_due().await;
        }
        let outcome = back_end.database.tasks().claim_subject(image.id, IDENTIFY, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Ended);
        let failed = back_end.image(image.id).await.image;
        assert_eq!(failed.status, Status::Failed);
        assert!(failed.reason.unwrap().starts_with("crashed the worker"));
    }

    async fn an_image_that_crashed_three_workers_is_failed_by_the_sweep(back_end: &BackEnd) {
        let bad = back_end.accept("/bad.jpg").await;
        for _ in 0..MAX_CLAIMS {
            back_end.claim(bad.id).await;
            back_end.make_everything_due().await;
        }
        let good = back_end.accept("/good.jpg").await;
        let swept = sweep(back_end, 10).await;
        assert_eq!(swept.crashed, [bad.id]);
        assert_eq!(swept.claims.iter().map(|claim| claim.image_id).collect::<Vec<_>>(), [good.id]);
        let failed = back_end.image(bad.id).await.image;
        assert_eq!(failed.status, Status::Failed);
        assert!(failed.reason.unwrap().starts_with("crashed the worker"));
    }

    async fn the_last_worker_may_still_finish_what_crashed_others(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        for _ in 1..MAX_CLAIMS {
            back_end.claim(image.id).await;
            back_end.make_everything_due().await;
        }
        let last = back_end.claim(image.id).await;
        back_end.database.tasks().complete(&last, &recognized(&[])).await.unwrap();
        assert_eq!(back_end.image(image.id).await.image.status, Status::Processed);
    }

    async fn an_image_that_another_program_wrote_is_given_its_task(back_end: &BackEnd) {
        back_end.execute("INSERT INTO images (path, status) VALUES ('/theirs.jpg', 0)").await;
        let id = back_end.number("SELECT id FROM images").await;
        let claim = back_end.claim(id).await;
        assert_eq!(claim.path, "/theirs.jpg");
        assert_eq!(back_end.image(id).await.image.status, Status::Processing);
    }

    async fn an_image_that_another_program_finished_has_ended(back_end: &BackEnd) {
        back_end.execute("INSERT INTO images (path, status) VALUES ('/theirs.jpg', 1)").await;
        let id = back_end.number("SELECT id FROM images").await;
        let outcome = back_end.database.tasks().claim_subject(id, IDENTIFY, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Ended);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks").await, 0);
    }

    async fn an_unknown_image_cannot_be_claimed(back_end: &BackEnd) {
        let outcome = back_end.database.tasks().claim_subject(4711, IDENTIFY, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Unknown);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks").await, 0);
    }

    async fn the_sweep_takes_what_was_begun_first_the_longest_due_before_others(back_end: &BackEnd) {
        let accepted = back_end.accept_all(["/a.jpg", "/b.jpg", "/c.jpg", "/new.jpg"]).await;
        for (image, due) in accepted.iter().zip([3000, 1000, 2000]) {
            back_end.claim(image.id).await;
            back_end
                .execute(&format!("UPDATE tasks SET available_at = {due} WHERE image_id = {}", image.id))
                .await;
        }
        back_end.execute("UPDATE tasks SET available_at = 500 WHERE lane = 0").await;
        let tasks = back_end.database.tasks();
        let two = tasks.claim_due(IDENTIFY, 2, LONG, LONG).await.unwrap();
        let taken: Vec<_> = two.claims.iter().map(|claim| claim.path.as_str()).collect();
        assert_eq!(taken, ["/b.jpg", "/c.jpg"]);
        let rest = tasks.claim_due(IDENTIFY, 10, LONG, LONG).await.unwrap();
        let taken: Vec<_> = rest.claims.iter().map(|claim| claim.path.as_str()).collect();
        assert_eq!(taken, ["/a.jpg", "/new.jpg"]);
    }

    async fn the_sweep_leaves_what_is_fresh(back_end: &BackEnd) {
        let accepted = back_end.accept_all(["/begun.jpg", "/new.jpg"]).await;
        let begun = back_end.claim(accepted[0].id).await;
        back_end.database.tasks().retry(&begun, Duration::ZERO, Fault::Internal, "again", 5).await.unwrap();
        let tasks = back_end.database.tasks();
        assert_eq!(tasks.claim_due(IDENTIFY, 10, LONG, LONG).await.unwrap(), DueClaims::default());
    }

    async fn eight_claimers_at_once_each_get_their_own_and_none_goes_without(back_end: &BackEnd) {
        back_end.accept_all((0..200).map(|number| format!("/{number}.jpg"))).await;
        back_end.make_everything_due().await;
        let start = Arc::new(Barrier::new(8));
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                let (tasks, start) = (back_end.database.tasks(), Arc::clone(&start));
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    start.wait().await;
                    for _ in 0..2 {
                        let swept = tasks.claim_due(IDENTIFY, 10, Duration::ZERO, LONG).await.unwrap();
                        assert_eq!(swept.claims.len(), 10, "a claimer went without");
                        taken.extend(swept.claims);
                    }
                    taken
                })
            })
            .collect();
        let mut taken = HashSet::new();
        for claimer in claimers {
            for claim in claimer.await.unwrap() {
                assert!(taken.insert(claim.task_id), "task {} was taken twice", claim.task_id);
            }
        }
        assert_eq!(taken.len(), 160);
    }

    async fn many_messages_for_one_image_give_one_claim(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let start = Arc::new(Barrier::new(8));
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                let (tasks, start) = (back_end.database.tasks(), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    tasks.claim_subject(image.id, IDENTIFY, LONG).await.unwrap()
                })
            })
            .collect();
        let mut claimed = 0;
        for claimer in claimers {
            match claimer.await.unwrap() {
                ClaimOutcome::Claimed(_) => claimed += 1,
                ClaimOutcome::NotDue { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(claimed, 1);
    }

    async fn the_backlog_is_known(back_end: &BackEnd) {
        let tasks = back_end.database.tasks();
        let accepted = back_end.accept_all(["/a.jpg", "/b.jpg", "/c.jpg"]).await;
        back_end.claim(accepted[0].id).await;
        let waiting = back_end.claim(accepted[1].id).await;
        tasks.wait(&waiting, LONG / 2, "recognizer", "it is away").await.unwrap();
        let backlog = tasks.backlog(IDENTIFY).await.unwrap();
        assert_eq!((backlog.ready, backlog.leased, backlog.waiting), (1, 1, 1));
    }
}
