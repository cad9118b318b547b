//! Several tasks an image, several images a batch, and the one end of it.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Claim, ClaimOutcome, Fault, NewOutput, Prepared, Status, TaskKind};
use tokio::task::JoinSet;

use crate::back_end::{BackEnd, LONG, on_both_back_ends, recognized};

/// A sealed batch whose image waits to be prepared, told of by mail.
struct Job {
    batch: i64,
    image: i64,
    prepare: i64,
}

impl Job {
    async fn post(back_end: &BackEnd, path: &str) -> Self {
        let batch = Self::open(back_end).await;
        let job = Self::add(back_end, batch, path).await;
        Self::seal(back_end, batch).await;
        job
    }

    async fn open(back_end: &BackEnd) -> i64 {
        back_end
            .execute("INSERT INTO batches (email) VALUES ('a@b.c')")
            .await;
        back_end.number("SELECT MAX(id) FROM batches").await
    }

    async fn add(back_end: &BackEnd, batch: i64, path: &str) -> Self {
        let insert = format!("INSERT INTO images (path, batch_id) VALUES ('{path}', {batch})");
        back_end.execute(&insert).await;
        let image = back_end.number("SELECT MAX(id) FROM images").await;
        let insert =
            format!("INSERT INTO tasks (image_id, kind, batch_id) VALUES ({image}, 'prepare', {batch})");
        back_end.execute(&insert).await;
        let prepare = back_end.number("SELECT MAX(id) FROM tasks").await;
        Self {
            batch,
            image,
            prepare,
        }
    }

    async fn seal(back_end: &BackEnd, batch: i64) {
        back_end
            .execute(&format!("UPDATE batches SET sealed_at = 1 WHERE id = {batch}"))
            .await;
    }
}

fn prepared(tasks: &[TaskKind]) -> Prepared {
    Prepared {
        content_type: "image/jpeg".to_owned(),
        bytes: 7,
        width: 640,
        height: 480,
        tasks: tasks.to_vec(),
    }
}

fn output(role: &str) -> NewOutput {
    NewOutput {
        role: role.to_owned(),
        uri: format!("/store/output/1/{role}.png"),
        content_type: "image/png".to_owned(),
        width: 120,
        height: 90,
        bytes: 1000,
        blake3: [7; 32],
    }
}

async fn claim(back_end: &BackEnd, subject: i64, kind: TaskKind) -> Claim {
    match back_end
        .database
        .tasks()
        .claim_subject(subject, kind, LONG)
        .await
        .unwrap()
    {
        ClaimOutcome::Claimed(claim) => claim,
        other => panic!("{kind:?} {subject} cannot be claimed: {other:?}"),
    }
}

/// The task of this kind, claimed.
async fn claim_of(back_end: &BackEnd, image: i64, kind: TaskKind) -> Claim {
    let name = kind.as_str();
    let task = format!("SELECT id FROM tasks WHERE image_id = {image} AND kind = '{name}'");
    let subject = match kind.is_told_by_image() {
        true => image,
        false => back_end.number(&task).await,
    };
    claim(back_end, subject, kind).await
}

/// A film that was looked at, so that a frame and an animation of it are to be made.
async fn film(back_end: &BackEnd, path: &str) -> Job {
    let job = Job::post(back_end, path).await;
    let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
    let found = prepared(&[TaskKind::Frame, TaskKind::Gif]);
    back_end
        .database
        .tasks()
        .complete_prepare(&preparing, &found)
        .await
        .unwrap();
    job
}

async fn joined(back_end: &BackEnd) -> i64 {
    back_end
        .number("SELECT COUNT(*) FROM batches WHERE joined_at IS NOT NULL")
        .await
}

async fn told(back_end: &BackEnd) -> i64 {
    back_end.number("SELECT COUNT(*) FROM notifications").await
}

on_both_back_ends! {
    async fn what_a_file_is_decides_what_is_done_about_it(back_end: &BackEnd) {
        let job = Job::post(back_end, "/cat.jpg").await;
        let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
        assert_eq!((preparing.batch_id, preparing.path.as_str()), (Some(job.batch), "/cat.jpg"));
        let tasks = back_end.database.tasks();
        let found = prepared(&[TaskKind::Identify, TaskKind::Thumbnail]);
        tasks.complete_prepare(&preparing, &found).await.unwrap();
        // The answer to the first call may have been lost.
        tasks.complete_prepare(&preparing, &found).await.unwrap();

        let image = back_end.image(job.image).await;
        assert_eq!(image.image.status, Status::Pending, "it is not done before all of it is");
        assert_eq!((image.content_type.as_deref(), image.bytes), (Some("image/jpeg"), Some(7)));
        assert_eq!((image.width, image.height), (Some(640), Some(480)));
        let kinds: Vec<_> = image.tasks.iter().map(|task| task.kind.as_str()).collect();
        assert_eq!(kinds, ["prepare", "identify", "thumbnail"]);
        let messages = back_end.texts("SELECT topic FROM outbox ORDER BY id").await;
        assert_eq!(messages, ["images", "thumbnail"]);
        let subjects = format!(
            "SELECT COUNT(*) FROM outbox WHERE (topic = 'images' AND subject = {}) \
             OR (topic = 'thumbnail' AND subject = {})",
            job.image, image.tasks[2].id
        );
        assert_eq!(back_end.number(&subjects).await, 2);
        assert_eq!(joined(back_end).await, 0);
    }

    async fn a_batch_joins_when_its_last_task_ends_and_is_told_of_once(back_end: &BackEnd) {
        let job = film(back_end, "/clip.mp4").await;
        let tasks = back_end.database.tasks();
        let frame = claim_of(back_end, job.image, TaskKind::Frame).await;
        tasks.complete_outputs(&frame, &[output("frame")]).await.unwrap();
        assert_eq!((joined(back_end).await, told(back_end).await), (0, 0));
        let gif = claim_of(back_end, job.image, TaskKind::Gif).await;
        assert_eq!(back_end.image(job.image).await.image.status, Status::Processing);
        tasks.complete_outputs(&gif, &[output("animation")]).await.unwrap();
        tasks.complete_outputs(&gif, &[output("animation")]).await.unwrap();

        let image = back_end.image(job.image).await;
        assert_eq!(image.image.status, Status::Processed);
        let roles: Vec<_> = image.outputs.iter().map(|output| output.role.as_str()).collect();
        assert_eq!(roles, ["frame", "animation"]);
        let batch = image.batch.unwrap();
        assert!(batch.joined_at_ms.is_some());
        assert_eq!(batch.notifications.len(), 1);
        assert_eq!(back_end.texts("SELECT recipient FROM notifications").await, ["a@b.c"]);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM outbox WHERE topic = 'mail'").await, 1);
    }

    async fn faces_and_thumbnails_of_one_picture_end_in_any_order(back_end: &BackEnd) {
        for first in [TaskKind::Identify, TaskKind::Thumbnail] {
            let job = Job::post(back_end, &format!("/{}.jpg", first.as_str())).await;
            let tasks = back_end.database.tasks();
            let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
            let both = [TaskKind::Identify, TaskKind::Thumbnail];
            tasks.complete_prepare(&preparing, &prepared(&both)).await.unwrap();
            for kind in [first, both[usize::from(first == both[0])]] {
                let claim = claim_of(back_end, job.image, kind).await;
                match kind {
                    TaskKind::Identify => tasks.complete(&claim, &recognized(&[("obama", 0.4)])).await,
                    _ => tasks.complete_outputs(&claim, &[output("thumbnail-small")]).await,
                }
                .unwrap();
            }
            let image = back_end.image(job.image).await;
            assert_eq!((image.image.status, image.outputs.len()), (Status::Processed, 1));
            assert_eq!(image.image.people, ["obama"]);
            assert!(image.image.duration_ms.is_some());
            assert!(image.batch.unwrap().joined_at_ms.is_some());
        }
    }

    async fn a_batch_with_a_failed_task_joins_and_says_which(back_end: &BackEnd) {
        let job = film(back_end, "/clip.mp4").await;
        let tasks = back_end.database.tasks();
        let gif = claim_of(back_end, job.image, TaskKind::Gif).await;
        tasks.fail(&gif, Fault::Timeout, "it took longer than 60 s").await.unwrap();
        assert_eq!(back_end.image(job.image).await.image.status, Status::Pending);
        let frame = claim_of(back_end, job.image, TaskKind::Frame).await;
        tasks.complete_outputs(&frame, &[output("frame")]).await.unwrap();
        let image = back_end.image(job.image).await.image;
        assert_eq!(image.status, Status::Failed);
        let reason = "1 of 3 tasks failed: gif: it took longer than 60 s; the others are done";
        assert_eq!(image.reason.as_deref(), Some(reason));
        assert_eq!((joined(back_end).await, told(back_end).await), (1, 1));
        assert_eq!(back_end.texts("SELECT fault FROM tasks WHERE kind = 'gif'").await, ["timeout"]);
    }

    async fn what_is_neither_picture_nor_film_is_told_of_at_once(back_end: &BackEnd) {
        let job = Job::post(back_end, "/notes.png").await;
        let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
        let why = "it is neither a picture nor a film";
        back_end.database.tasks().fail(&preparing, Fault::Bad, why).await.unwrap();
        let image = back_end.image(job.image).await.image;
        assert_eq!((image.status, image.reason.as_deref()), (Status::Failed, Some(why)));
        assert_eq!((joined(back_end).await, told(back_end).await), (1, 1));
    }

    async fn a_batch_waits_for_its_last_image(back_end: &BackEnd) {
        let batch = Job::open(back_end).await;
        let jobs = [
            Job::add(back_end, batch, "/a.jpg").await,
            Job::add(back_end, batch, "/b.jpg").await,
        ];
        Job::seal(back_end, batch).await;
        for (ended, job) in jobs.iter().enumerate() {
            assert_eq!(joined(back_end).await, 0, "{ended} of 2 have ended");
            let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
            back_end.database.tasks().fail(&preparing, Fault::Bad, "bad").await.unwrap();
        }
        assert_eq!((joined(back_end).await, told(back_end).await), (1, 1));
    }

    async fn a_batch_that_is_not_sealed_does_not_join(back_end: &BackEnd) {
        let batch = Job::open(back_end).await;
        let job = Job::add(back_end, batch, "/a.jpg").await;
        let preparing = claim(back_end, job.prepare, TaskKind::Prepare).await;
        back_end.database.tasks().fail(&preparing, Fault::Bad, "bad").await.unwrap();
        assert_eq!(back_end.database.batches().sweep_joins(10).await.unwrap(), 0);
        assert_eq!(joined(back_end).await, 0);
        Job::seal(back_end, batch).await;
        assert_eq!(back_end.database.batches().sweep_joins(10).await.unwrap(), 1);
        assert_eq!(back_end.database.batches().sweep_joins(10).await.unwrap(), 0);
        assert_eq!((joined(back_end).await, told(back_end).await), (1, 1));
    }

    async fn an_image_that_crashes_its_workers_ends_its_batch(back_end: &BackEnd) {
        let job = film(back_end, "/poison.mp4").await;
        let tasks = back_end.database.tasks();
        let frame = claim_of(back_end, job.image, TaskKind::Frame).await;
        tasks.complete_outputs(&frame, &[output("frame")]).await.unwrap();
        for _ in 0..3 {
            let gif = claim_of(back_end, job.image, TaskKind::Gif).await;
            tasks.interrupted(&gif, Duration::ZERO, "transformer", "it died").await.unwrap();
            back_end.make_everything_due().await;
        }
        let due = tasks.claim_due(TaskKind::Gif, 10, Duration::ZERO, LONG).await.unwrap();
        assert_eq!((due.claims.len(), due.crashed), (0, vec![job.image]));
        assert_eq!(back_end.image(job.image).await.image.status, Status::Failed);
        assert_eq!((joined(back_end).await, told(back_end).await), (1, 1));
    }

    async fn waiting_and_trying_again_leave_the_image_pending(back_end: &BackEnd) {
        let job = film(back_end, "/clip.mp4").await;
        let tasks = back_end.database.tasks();
        let frame = claim_of(back_end, job.image, TaskKind::Frame).await;
        let gif = claim_of(back_end, job.image, TaskKind::Gif).await;
        tasks.wait(&frame, Duration::ZERO, "transformer", "no circuit").await.unwrap();
        let image = back_end.image(job.image).await.image;
        assert_eq!((image.status, image.waiting_for.as_deref()), (Status::Processing, Some("transformer")));
        tasks.retry(&gif, LONG, Fault::Internal, "a bug", 5).await.unwrap();
        assert_eq!(back_end.image(job.image).await.image.status, Status::Pending);
        assert_eq!(back_end.database.images().counts().await.unwrap().waiting, 1);
    }

    async fn one_message_of_each_kind_of_work_claims_only_that(back_end: &BackEnd) {
        let job = film(back_end, "/clip.mp4").await;
        let tasks = back_end.database.tasks();
        let outcome = tasks.claim_subject(job.prepare, TaskKind::Gif, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Unknown);
        let outcome = tasks.claim_subject(job.prepare, TaskKind::Prepare, LONG).await.unwrap();
        assert_eq!(outcome, ClaimOutcome::Ended);
        let due = tasks.claim_due(TaskKind::Frame, 10, Duration::ZERO, LONG).await.unwrap();
        assert_eq!(due.claims.len(), 1);
    }
}

/// Asked without the batch's lock, "is any task unfinished?" has two transactions that end the last two tasks at once each
/// see the other's unfinished, and nobody joins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_that_end_the_last_two_images_at_once_join_the_batch_once() {
    const BATCHES: i64 = 40;
    for back_end in [BackEnd::mysql().await, BackEnd::sqlite().await] {
        let back_end = Arc::new(back_end);
        for round in 0..BATCHES {
            let batch = Job::open(&back_end).await;
            let mut claims = Vec::new();
            for name in ["a", "b"] {
                let job = Job::add(&back_end, batch, &format!("/{round}/{name}.jpg")).await;
                claims.push(claim(&back_end, job.prepare, TaskKind::Prepare).await);
            }
            Job::seal(&back_end, batch).await;
            let ending: JoinSet<()> = claims
                .into_iter()
                .map(|claim| {
                    let tasks = back_end.database.tasks();
                    async move { tasks.fail(&claim, Fault::Bad, "bad").await.unwrap() }
                })
                .collect();
            ending.join_all().await;
        }
        assert_eq!(
            (joined(&back_end).await, told(&back_end).await),
            (BATCHES, BATCHES)
        );
    }
}
