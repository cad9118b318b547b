use safelight_database::{Error, Sample};

use crate::back_end::{BackEnd, on_both_back_ends, recognized};

async fn enroll(back_end: &BackEnd, name: &str, hash: u8) -> safelight_database::EnrolledSample {
    let people = back_end.database.people();
    let image_name = format!("{name}_{hash}.jpg");
    people
        .enroll(
            name,
            &image_name,
            [hash; 32],
            Some(&[0.5, -0.5]),
            "test",
            "1",
            None,
        )
        .await
        .unwrap()
}

on_both_back_ends! {
    async fn enrolled_samples_are_listed_by_person(back_end: &BackEnd) {
        enroll(back_end, "obama", 1).await;
        enroll(back_end, "biden", 2).await;
        enroll(back_end, "obama", 3).await;
        let people = back_end.database.people().list().await.unwrap();
        let names: Vec<_> = people.iter().map(|person| person.name.as_str()).collect();
        assert_eq!(names, ["biden", "obama"]);
        assert_eq!(people[1].samples.len(), 2);
        let expected = Sample {
            image_name: "obama_1.jpg".to_owned(),
            content_hash: [1; 32],
            descriptor: Some(vec![0.5, -0.5]),
            model: "test".to_owned(),
            model_version: "1".to_owned(),
            uri: None,
        };
        assert_eq!(people[1].samples[0], expected);
    }

    async fn the_same_picture_of_the_same_person_counts_once(back_end: &BackEnd) {
        let first = enroll(back_end, "obama", 1).await;
        let again = enroll(back_end, "obama", 1).await;
        assert_eq!((first.duplicate, again.duplicate), (false, true));
        assert_eq!((first.person_id, first.sample_id), (again.person_id, again.sample_id));
        let other = enroll(back_end, "biden", 1).await;
        assert!(!other.duplicate && other.sample_id != first.sample_id);
    }

    async fn a_new_description_replaces_the_old_and_a_missing_one_does_not(back_end: &BackEnd) {
        let people = back_end.database.people();
        let uri = Some("/known/obama.jpg");
        people.enroll("obama", "obama.jpg", [1; 32], None, "", "", uri).await.unwrap();
        assert_eq!(people.list().await.unwrap()[0].samples[0].descriptor, None);
        people.enroll("obama", "obama.jpg", [1; 32], Some(&[1.0]), "test", "2", uri).await.unwrap();
        people.enroll("obama", "obama.jpg", [1; 32], None, "test", "2", uri).await.unwrap();
        let sample = people.list().await.unwrap().remove(0).samples.remove(0);
        assert_eq!((sample.descriptor, sample.model_version.as_str()), (Some(vec![1.0]), "2"));
        assert_eq!(sample.uri.as_deref(), uri);
    }

    async fn the_version_is_another_one_after_every_change(back_end: &BackEnd) {
        let people = back_end.database.people();
        let mut seen = vec![people.version().await.unwrap()];
        assert_eq!(people.version().await.unwrap(), seen[0]);
        enroll(back_end, "obama", 1).await;
        seen.push(people.version().await.unwrap());
        people.forget("obama").await.unwrap();
        seen.push(people.version().await.unwrap());
        enroll(back_end, "obama", 1).await;
        seen.push(people.version().await.unwrap());
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    }

    async fn a_forgotten_person_stays_named_in_pictures_already_recognized(back_end: &BackEnd) {
        enroll(back_end, "obama", 1).await;
        enroll(back_end, "obama", 2).await;
        let image = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(image.id).await;
        back_end.database.tasks().complete(&claim, &recognized(&[("obama", 0.4)])).await.unwrap();

        let people = back_end.database.people();
        assert_eq!(people.forget("obama").await.unwrap(), 2);
        assert_eq!(people.list().await.unwrap(), []);
        assert_eq!(back_end.image(image.id).await.image.people, ["obama"]);
        let version = people.version().await.unwrap();
        assert!(matches!(people.forget("obama").await, Err(Error::NotFound)));
        assert_eq!(people.version().await.unwrap(), version);
    }

    async fn a_name_that_back_ends_would_take_differently_is_refused(back_end: &BackEnd) {
        let people = back_end.database.people();
        for name in ["", " obama", "obama ", &"x".repeat(256)] {
            let refused = people.enroll(name, "a.jpg", [1; 32], None, "test", "1", None).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{name:?}: {refused:?}");
        }
        enroll(back_end, "Zo\u{eb} O'Neil", 1).await;
        enroll(back_end, "zo\u{eb} o'neil", 1).await;
        assert_eq!(people.list().await.unwrap().len(), 2);
    }

    async fn enrolling_at_the_same_time_loses_nothing(back_end: &BackEnd) {
        let enrolling: Vec<_> = (0..16u8)
            .map(|number| {
                let people = back_end.database.people();
                tokio::spawn(async move {
                    let name = format!("person {}", number % 4);
                    people.enroll(&name, "a.jpg", [number; 32], None, "test", "1", None).await.unwrap()
                })
            })
            .collect();
        for one in enrolling {
            assert!(!one.await.unwrap().duplicate);
        }
        let people = back_end.database.people().list().await.unwrap();
        assert_eq!(people.iter().map(|person| person.samples.len()).collect::<Vec<_>>(), [4; 4]);
        assert_eq!(back_end.database.people().version().await.unwrap(), 16);
    }
}
