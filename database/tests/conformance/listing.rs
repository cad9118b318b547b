use safelight_database::{Counts, Fault, ListQuery, NewImage, Status};

use crate::back_end::{BackEnd, on_both_back_ends, recognized};

async fn ids(back_end: &BackEnd, query: ListQuery) -> Vec<i64> {
    let page = back_end.database.images().list(&query).await.unwrap();
    page.iter().map(|image| image.id).collect()
}

fn page(limit: u32) -> ListQuery {
    ListQuery {
        limit,
        ..ListQuery::default()
    }
}

on_both_back_ends! {
    async fn pages_go_by_key_in_both_directions(back_end: &BackEnd) {
        let accepted = back_end.accept_all((0..5).map(|number| format!("/{number}.jpg"))).await;
        let id = |index: usize| accepted[index].id;

        assert_eq!(ids(back_end, page(2)).await, [id(0), id(1)]);
        assert_eq!(ids(back_end, ListQuery { after: Some(id(1)), ..page(2) }).await, [id(2), id(3)]);
        assert_eq!(ids(back_end, ListQuery { after: Some(id(3)), ..page(2) }).await, [id(4)]);
        assert_eq!(ids(back_end, ListQuery { after: Some(id(4)), ..page(2) }).await, [0i64; 0]);

        let newest = ListQuery { newest_first: true, ..page(2) };
        assert_eq!(ids(back_end, newest.clone()).await, [id(4), id(3)]);
        back_end.accept("/came-in-between.jpg").await;
        assert_eq!(ids(back_end, ListQuery { after: Some(id(3)), ..newest }).await, [id(2), id(1)]);
    }

    async fn a_page_can_be_asked_for_by_status_project_and_person(back_end: &BackEnd) {
        let in_project = |path: &str, project: &str| NewImage {
            path: path.to_owned(),
            project: Some(project.to_owned()),
        };
        let given = [
            in_project("/0.jpg", "door"),
            in_project("/1.jpg", "door"),
            in_project("/2.jpg", "yard"),
            in_project("/3.jpg", "yard"),
        ];
        let accepted = back_end.database.images().accept(&given).await.unwrap();
        let id = |index: usize| accepted[index].id;
        let tasks = back_end.database.tasks();
        let people: [&[(&str, f32)]; 3] = [&[("obama", 0.4)], &[("biden", 0.3), ("obama", 0.5)], &[("biden", 0.2)]];
        for (image, people) in accepted.iter().zip(people) {
            let claim = back_end.claim(image.id).await;
            tasks.complete(&claim, &recognized(people)).await.unwrap();
        }

        let status = |status| ListQuery { status: Some(status), ..page(10) };
        assert_eq!(ids(back_end, status(Status::Pending)).await, [id(3)]);
        assert_eq!(ids(back_end, status(Status::Processed)).await, [id(0), id(1), id(2)]);
        assert_eq!(ids(back_end, status(Status::Failed)).await, [0i64; 0]);

        let project = ListQuery { project: Some("yard".to_owned()), ..page(10) };
        assert_eq!(ids(back_end, project.clone()).await, [id(2), id(3)]);

        let person = |name: &str| ListQuery { person: Some(name.to_owned()), ..page(10) };
        assert_eq!(ids(back_end, person("obama")).await, [id(0), id(1)]);
        assert_eq!(ids(back_end, person("biden")).await, [id(1), id(2)]);
        assert_eq!(ids(back_end, person("' OR 1 = 1 --")).await, [0i64; 0]);

        let all = ListQuery { status: Some(Status::Processed), newest_first: true, after: Some(id(3)), ..person("biden") };
        assert_eq!(ids(back_end, ListQuery { project: Some("yard".to_owned()), ..all }).await, [id(2)]);
    }

    async fn a_listed_image_says_who_is_in_it(back_end: &BackEnd) {
        let accepted = back_end.accept_all(["/a.jpg", "/b.jpg"]).await;
        let claim = back_end.claim(accepted[1].id).await;
        let found = recognized(&[("obama", 0.5), ("biden", 0.3), ("obama", 0.4)]);
        back_end.database.tasks().complete(&claim, &found).await.unwrap();
        let page = back_end.database.images().list(&page(10)).await.unwrap();
        assert_eq!(page[0].people, [""; 0]);
        assert_eq!(page[1].people, ["biden", "obama"]);
        assert_eq!(page[1], back_end.image(accepted[1].id).await.image);
    }

    async fn a_person_whom_another_program_recorded_is_listed(back_end: &BackEnd) {
        back_end.execute("INSERT INTO person (name) VALUES ('merkel')").await;
        back_end
            .execute("INSERT INTO images (path, status, person_id) SELECT '/theirs.jpg', 1, id FROM person")
            .await;
        let page = back_end.database.images().list(&page(10)).await.unwrap();
        assert_eq!(page[0].people, ["merkel"]);
    }

    async fn images_are_counted_by_status(back_end: &BackEnd) {
        assert_eq!(back_end.database.images().counts().await.unwrap(), Counts::default());
        let accepted = back_end.accept_all((0..5).map(|number| format!("/{number}.jpg"))).await;
        let tasks = back_end.database.tasks();
        tasks.complete(&back_end.claim(accepted[0].id).await, &recognized(&[])).await.unwrap();
        tasks.fail(&back_end.claim(accepted[1].id).await, Fault::Bad, "cut off").await.unwrap();
        back_end.claim(accepted[2].id).await;
        let expected = Counts { pending: 2, processed: 1, failed: 1, processing: 1, waiting: 0 };
        assert_eq!(back_end.database.images().counts().await.unwrap(), expected);
    }

    async fn an_image_that_is_not_there_is_none(back_end: &BackEnd) {
        assert_eq!(back_end.database.images().get(1).await.unwrap(), None);
        assert_eq!(back_end.database.images().list(&page(10)).await.unwrap(), []);
    }
}
