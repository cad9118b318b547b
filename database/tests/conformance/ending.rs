use std::time::Duration;

use safelight_database::{Claim, ClaimOutcome, Fault, RetryOutcome, Status, TaskKind, TaskRecord, TaskState};

use crate::back_end::{BackEnd, LONG, on_both_back_ends, recognized};

async fn claimed(back_end: &BackEnd) -> Claim {
    let image = back_end.accept("/a.jpg").await;
    back_end.claim(image.id).await
}

async fn task(back_end: &BackEnd, claim: &Claim) -> TaskRecord {
    back_end.image(claim.image_id).await.tasks.remove(0)
}

/// How often the task was claimed without an end, tried, and made to wait.
fn counts(task: &TaskRecord) -> (u32, u32, u32) {
    (task.claims, task.tries, task.waits)
}

on_both_back_ends! {
    async fn what_was_recognized_is_recorded(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        let found = recognized(&[("obama", 0.4), ("biden", 0.3), ("obama", 0.5)]);
        back_end.database.tasks().complete(&claim, &found).await.unwrap();

        let detail = back_end.image(claim.image_id).await;
        assert_eq!(detail.image.status, Status::Processed);
        assert_eq!(detail.image.people, ["biden", "obama"]);
        assert_eq!(detail.image.distance, Some(0.3));
        assert_eq!(detail.image.reason, None);
        assert!(detail.image.duration_ms.is_some_and(|duration| duration >= 0));
        assert_eq!((detail.width, detail.height), (Some(640), Some(480)));
        assert_eq!(detail.tasks[0].state, TaskState::Done);
        assert_eq!(detail.tasks[0].model.as_deref(), Some("test"));
        assert_eq!(detail.faces.len(), 3);
        for (face, given) in detail.faces.iter().zip(&found.faces) {
            assert_eq!((face.left, face.top, face.width, face.height), (-3, 4, 50, 60));
            assert_eq!((&face.landmarks, &face.descriptor), (&given.landmarks, &given.descriptor));
            let person = given.person.as_ref().unwrap();
            assert_eq!(face.person.as_ref(), Some(&person.person));
            assert_eq!(face.sample.as_ref(), Some(&person.sample));
            assert_eq!(face.distance, person.distance);
        }
        let best = back_end.number(
            "SELECT COUNT(*) FROM images JOIN person ON person.id = images.person_id WHERE person.name = 'biden'",
        );
        assert_eq!(best.await, 1);
    }

    async fn nobody_known_is_processed_too(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        back_end.database.tasks().complete(&claim, &recognized(&[])).await.unwrap();
        let image = back_end.image(claim.image_id).await.image;
        assert_eq!((image.status, image.people.len(), image.distance), (Status::Processed, 0, None));
    }

    /// The answer to the first call may have been lost.
    async fn completing_again_is_as_good_as_once(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        let tasks = back_end.database.tasks();
        tasks.complete(&claim, &recognized(&[("obama", 0.4)])).await.unwrap();
        tasks.complete(&claim, &recognized(&[("obama", 0.4)])).await.unwrap();
        assert_eq!(back_end.image(claim.image_id).await.faces.len(), 1);
    }

    async fn a_failed_image_has_its_reason(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        let tasks = back_end.database.tasks();
        tasks.fail(&claim, Fault::Bad, "the picture is cut off").await.unwrap();
        tasks.fail(&claim, Fault::Bad, "the picture is cut off").await.unwrap();
        let detail = back_end.image(claim.image_id).await;
        assert_eq!(detail.image.status, Status::Failed);
        assert_eq!(detail.image.reason.as_deref(), Some("the picture is cut off"));
        assert_eq!(detail.tasks[0].state, TaskState::Failed);
        let outcome = tasks.claim_subject(claim.image_id, TaskKind::Identify, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Ended);
    }

    async fn a_reason_of_any_length_fits(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        back_end.database.tasks().fail(&claim, Fault::Bad, &"\u{e4}\u{1f600}".repeat(1_000)).await.unwrap();
        let reason = back_end.image(claim.image_id).await.image.reason.unwrap();
        assert!(reason.starts_with("\u{e4}\u{1f600}\u{e4}") && reason.len() <= 1_024);
    }

    async fn a_try_that_failed_is_counted_and_comes_again_later(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        let outcome = back_end.database.tasks().retry(&claim, LONG, Fault::Internal, "timed out", 3).await.unwrap();
        assert_eq!(outcome, RetryOutcome::Again);
        let record = task(back_end, &claim).await;
        assert_eq!(counts(&record), (0, 1, 0));
        assert_eq!(record.reason.as_deref(), Some("timed out"));
        assert_eq!(back_end.image(claim.image_id).await.image.status, Status::Pending);
        let tasks = back_end.database.tasks();
        let outcome = tasks.claim_subject(claim.image_id, TaskKind::Identify, LONG).await.unwrap();
        assert!(matches!(outcome, ClaimOutcome::NotDue { .. }), "{outcome:?}");
    }

    async fn the_last_try_fails_the_image(back_end: &BackEnd) {
        let mut claim = claimed(back_end).await;
        let tasks = back_end.database.tasks();
        for tries in 0..2 {
            assert_eq!(claim.tries, tries);
            assert_eq!(tasks.retry(&claim, LONG, Fault::Internal, "timed out", 3).await.unwrap(), RetryOutcome::Again);
            back_end.make_everything_due().await;
            claim = back_end.claim(claim.image_id).await;
        }
        assert_eq!(tasks.retry(&claim, LONG, Fault::Internal, "timed out again", 3).await.unwrap(), RetryOutcome::Failed);
        let image = back_end.image(claim.image_id).await.image;
        assert_eq!((image.status, image.reason.as_deref()), (Status::Failed, Some("timed out again")));
    }

    /// Down is not failed: any number of times.
    async fn waiting_for_a_service_uses_up_nothing(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let tasks = back_end.database.tasks();
        for waits in 1..=10 {
            let claim = back_end.claim(image.id).await;
            assert_eq!((claim.claims, claim.tries), (1, 0));
            tasks.wait(&claim, LONG, "recognizer", "its circuit is open").await.unwrap();
            let record = task(back_end, &claim).await;
            assert_eq!(counts(&record), (0, 0, waits));
            assert_eq!(record.waiting_for.as_deref(), Some("recognizer"));
            back_end.make_everything_due().await;
        }
        let waiting = back_end.image(image.id).await.image;
        assert_eq!((waiting.status, waiting.waiting_for.as_deref()), (Status::Pending, Some("recognizer")));
        assert_eq!((back_end.database.images().counts().await.unwrap().waiting, waiting.reason), (1, None));

        back_end.claim(image.id).await;
        assert_eq!(back_end.image(image.id).await.image.waiting_for, None);
        assert_eq!(back_end.database.images().counts().await.unwrap().waiting, 0);
    }

    async fn an_image_that_killed_the_service_three_times_is_failed(back_end: &BackEnd) {
        let image = back_end.accept("/a.jpg").await;
        let tasks = back_end.database.tasks();
        for deaths in 1..=3 {
            let claim = back_end.claim(image.id).await;
            tasks.interrupted(&claim, Duration::ZERO, "recognizer", "it died").await.unwrap();
            let record = task(back_end, &claim).await;
            assert_eq!(counts(&record), (deaths, 0, deaths));
            back_end.make_everything_due().await;
        }
        let outcome = tasks.claim_subject(image.id, TaskKind::Identify, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Ended);
        assert_eq!(back_end.image(image.id).await.image.status, Status::Failed);
    }

    async fn work_that_is_released_is_due_at_once_and_nothing_is_counted(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        back_end.database.tasks().release(&claim).await.unwrap();
        let record = task(back_end, &claim).await;
        assert_eq!(counts(&record), (0, 0, 0));
        assert_eq!(back_end.image(claim.image_id).await.image.status, Status::Pending);
        assert_eq!(back_end.claim(claim.image_id).await.claims, 1);
    }

    async fn a_name_that_cannot_be_a_name_is_refused_and_the_claim_stays(back_end: &BackEnd) {
        let claim = claimed(back_end).await;
        let tasks = back_end.database.tasks();
        tasks.complete(&claim, &recognized(&[(" obama", 0.4)])).await.unwrap_err();
        assert_eq!(back_end.image(claim.image_id).await.image.status, Status::Processing);
        tasks.complete(&claim, &recognized(&[("obama", 0.4)])).await.unwrap();
    }

    async fn new_people_found_at_the_same_time_are_recorded_once(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..8).map(|number| format!("/{number}.jpg"))).await;
        let mut workers = Vec::new();
        for image in accepted {
            let (claim, tasks) = (back_end.claim(image.id).await, back_end.database.tasks());
            let mut found = recognized(&[("a", 0.1), ("b", 0.2), ("c", 0.3), ("d", 0.4)]);
            if image.id % 2 == 0 {
                found.faces.reverse();
            }
            workers.push(tokio::spawn(async move { tasks.complete(&claim, &found).await.unwrap() }));
        }
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(back_end.number("SELECT COUNT(*) FROM person").await, 4);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM faces WHERE person_id IS NOT NULL").await, 32);
    }
}
