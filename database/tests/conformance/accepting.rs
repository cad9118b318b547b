use safelight_database::{Error, NewImage, Status, TaskState};

use crate::back_end::{images, on_both_back_ends, recognized};

on_both_back_ends! {
    async fn an_accepted_image_has_a_task_and_a_message(back_end: &BackEnd) {
        let image = NewImage { path: "/a.jpg".to_owned(), project: Some("door".to_owned()) };
        let accepted = back_end.database.images().accept(&[image]).await.unwrap().remove(0);
        assert_eq!((accepted.path.as_str(), accepted.status, accepted.duplicate), ("/a.jpg", Status::Pending, false));

        let detail = back_end.image(accepted.id).await;
        assert_eq!(detail.image.path, "/a.jpg");
        assert_eq!(detail.image.project.as_deref(), Some("door"));
        assert_eq!(detail.tasks.len(), 1);
        assert_eq!(detail.tasks[0].state, TaskState::Ready);

        let messages = back_end.database.outbox().claim(10, crate::back_end::LONG).await.unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].topic, "images");
        assert_eq!(messages[0].body, accepted.id.to_le_bytes());
    }

    async fn the_same_path_again_gives_the_record_that_exists(back_end: &BackEnd) {
        let first = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(first.id).await;
        back_end.database.tasks().complete(&claim, &recognized(&[])).await.unwrap();

        let again = back_end.accept("/a.jpg").await;
        assert_eq!((again.id, again.status, again.duplicate), (first.id, Status::Processed, true));
        assert_eq!(back_end.number("SELECT COUNT(*) FROM images").await, 1);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks").await, 1);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM outbox").await, 1);
    }

    async fn a_path_twice_in_one_call_is_recorded_once(back_end: &BackEnd) {
        let accepted = back_end.accept_all(["/a.jpg", "/b.jpg", "/a.jpg"]).await;
        assert_eq!(accepted.iter().map(|image| image.duplicate).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!(accepted[0].id, accepted[2].id);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM outbox").await, 2);
    }

    async fn answers_and_ids_follow_the_order_of_the_call(back_end: &BackEnd) {
        back_end.accept("/known.jpg").await;
        let paths = ["/z.jpg", "/known.jpg", "/a.jpg", "/m.jpg"];
        let accepted = back_end.accept_all(paths).await;
        assert_eq!(accepted.iter().map(|image| image.path.as_str()).collect::<Vec<_>>(), paths);
        assert_eq!(accepted.iter().map(|image| image.duplicate).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(accepted[1].id < accepted[0].id && accepted[0].id < accepted[2].id);
        assert!(accepted[2].id < accepted[3].id);
    }

    async fn more_images_than_one_statement_takes_are_accepted_together(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..2_500).map(|number| format!("/{number}.jpg"))).await;
        assert_eq!(accepted.len(), 2_500);
        assert!(accepted.iter().all(|image| !image.duplicate));
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks").await, 2_500);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM outbox").await, 2_500);
    }

    async fn many_single_images_at_once_are_all_there(back_end: &BackEnd) {
        let clients: Vec<_> = (0..32)
            .map(|client| {
                let images = back_end.database.images();
                tokio::spawn(async move {
                    for number in 0..20 {
                        // Every path comes from two clients.
                        let given = crate::back_end::images([format!("/{}-{number}.jpg", client / 2)]);
                        images.accept(&given).await.unwrap();
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        for table in ["images", "tasks", "outbox"] {
            assert_eq!(back_end.number(&format!("SELECT COUNT(*) FROM {table}")).await, 320, "{table}");
        }
    }

    async fn either_row_task_and_message_are_written_or_none(back_end: &BackEnd) {
        back_end.execute("ALTER TABLE outbox RENAME TO elsewhere").await;
        back_end.database.images().accept(&images(["/a.jpg"])).await.unwrap_err();
        assert_eq!(back_end.number("SELECT COUNT(*) FROM images").await, 0);
        assert_eq!(back_end.number("SELECT COUNT(*) FROM tasks").await, 0);

        back_end.execute("ALTER TABLE elsewhere RENAME TO outbox").await;
        assert!(!back_end.accept("/a.jpg").await.duplicate);
    }

    async fn paths_that_differ_in_any_byte_are_different_and_come_back_as_given(back_end: &BackEnd) {
        let longest = format!("/{}", "\u{e4}".repeat(2_047)) + "x";
        assert_eq!(longest.len(), 4_096);
        let paths = [
            "/a.jpg", "/A.jpg", "/a.jpg ", " /a.jpg", "/\u{e9}.jpg", "/e\u{301}.jpg", "/'\"`\\.jpg", "/%_.jpg",
            "/<b>\u{1f600}</b>.jpg", "/new\nline\t.jpg", "/nul\0.jpg", "[\"/a.jpg\"]", "s3://b/k?x=1#y", &longest,
        ];
        let accepted = back_end.accept_all(paths).await;
        for (image, path) in accepted.iter().zip(paths) {
            assert!(!image.duplicate, "{path:?} was taken for another one");
            assert_eq!(back_end.image(image.id).await.image.path, path);
        }
        assert!(back_end.accept_all(paths).await.iter().all(|image| image.duplicate));
        for (image, path) in accepted.iter().zip(paths) {
            let again = back_end.accept(path).await;
            assert_eq!((again.id, again.duplicate), (image.id, true), "{path:?}");
        }
    }

    async fn what_does_not_fit_is_refused_before_anything_is_written(back_end: &BackEnd) {
        let good = NewImage { path: "/good.jpg".to_owned(), project: None };
        for bad in [
            NewImage { path: String::new(), project: None },
            NewImage { path: "x".repeat(4_097), project: None },
            NewImage { path: "/a.jpg".to_owned(), project: Some("x".repeat(256)) },
        ] {
            let refused = back_end.database.images().accept(&[good.clone(), bad]).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        assert_eq!(back_end.number("SELECT COUNT(*) FROM images").await, 0);
        assert_eq!(back_end.accept_all([""; 0]).await, []);
    }

    /// Half of the clients go through the same paths backward, which is how deadlocks come about.
    async fn the_same_paths_from_many_clients_at_once_are_recorded_once(back_end: &BackEnd) {
        let paths: Vec<String> = (0..200).map(|number| format!("/{number}.jpg")).collect();
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let mut given = images(paths.clone());
                if client % 2 == 1 {
                    given.reverse();
                }
                let images = back_end.database.images();
                tokio::spawn(async move { images.accept(&given).await.unwrap() })
            })
            .collect();
        let mut new = 0;
        for client in clients {
            new += client.await.unwrap().iter().filter(|image| !image.duplicate).count();
        }
        assert_eq!(new, 200);
        for table in ["images", "tasks", "outbox"] {
            assert_eq!(back_end.number(&format!("SELECT COUNT(*) FROM {table}")).await, 200, "{table}");
        }
    }
}
