//! What happens to posts that are right.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use reqwest::StatusCode;
use serde_json::{Value, json};
use served::{Served, announced, problem_of};

#[tokio::test]
async fn a_post_with_the_content_type_of_a_form_is_recorded_and_announced() {
    let served = Served::start().await;
    let mut messages = served.subscribe().await;
    let path = served.path("unknown220.jpg");
    let response = served.post_image(&path).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Value = response.json().await.unwrap();
    let id = answer["id"].as_i64().unwrap();
    assert_eq!(answer, json!({ "id": id, "path": path, "status": "pending" }));
    assert_eq!(announced(&mut messages, 1).await, [id]);
    let record = served.database.images().get(id).await.unwrap().unwrap();
    assert_eq!(record.image.path, path);
    assert_eq!(record.tasks.len(), 1);
}

#[tokio::test]
async fn the_content_type_is_never_asked_for() {
    let served = Served::start().await;
    for kind in ["application/json", "text/plain", "image/jpeg", "nonsense"] {
        let body = json!({ "path": served.path(kind) }).to_string();
        let request = served
            .client
            .post(served.url("/image/post"))
            .header("content-type", kind)
            .body(body);
        assert_eq!(
            request.send().await.unwrap().status(),
            StatusCode::ACCEPTED,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn the_same_path_again_answers_with_the_record_that_exists() {
    let served = Served::start().await;
    let mut messages = served.subscribe().await;
    let path = served.path("a.jpg");
    let first: Value = served.post_image(&path).await.json().await.unwrap();
    let response = served.post_image(&path).await;
    assert_eq!(response.status(), StatusCode::OK);
    let second: Value = response.json().await.unwrap();
    assert_eq!(
        second,
        json!({ "id": first["id"], "path": path, "status": "pending", "duplicate": true })
    );
    let other: Value = served
        .post_image(&served.path("b.jpg"))
        .await
        .json()
        .await
        .unwrap();
    let expected = [first["id"].as_i64().unwrap(), other["id"].as_i64().unwrap()];
    assert_eq!(
        announced(&mut messages, 2).await,
        expected,
        "the duplicate was not announced again"
    );
}

#[tokio::test]
async fn a_bulk_post_answers_for_each_entry_in_order_and_a_bad_one_hurts_no_other() {
    let served = Served::start().await;
    let mut messages = served.subscribe().await;
    let (a, b) = (served.path("a.jpg"), served.path("b.jpg"));
    let body = json!({ "paths": [
        { "path": a }, { "path": "/etc/passwd" }, { "path": b }, { "path": a }, {}, 7, { "path": "" }, { "path": null },
    ]});
    let response = served.post("/images/post", body.to_string()).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Vec<Value> = response.json().await.unwrap();
    assert_eq!(answer.len(), 8);
    assert_eq!(answer[0]["path"], a);
    assert_eq!(answer[0]["status"], "pending");
    assert_eq!(answer[2]["path"], b);
    assert_eq!(
        answer[3],
        json!({ "id": answer[0]["id"], "path": a, "status": "pending", "duplicate": true })
    );
    assert_eq!(answer[1]["path"], "/etc/passwd");
    let refused = problem_of(&answer[1]["error"], StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.0, "path-refused");
    for entry in &answer[4..] {
        assert_eq!(
            problem_of(&entry["error"], StatusCode::BAD_REQUEST).0,
            "path-missing",
            "{entry}"
        );
    }
    let ids = announced(&mut messages, 2).await;
    assert_eq!(
        ids,
        [
            answer[0]["id"].as_i64().unwrap(),
            answer[2]["id"].as_i64().unwrap()
        ]
    );
}

#[tokio::test]
async fn an_empty_bulk_post_is_answered_with_an_empty_list() {
    let served = Served::start().await;
    let response = served.post("/images/post", r#"{"paths":[]}"#).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.json::<Value>().await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_bulk_post_of_as_many_as_allowed_is_recorded_whole() {
    let served = Served::start().await;
    let paths: Vec<Value> = (0..10_000)
        .map(|n| json!({ "path": served.path(&format!("{n}.jpg")) }))
        .collect();
    let response = served
        .post("/images/post", json!({ "paths": paths }).to_string())
        .await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let answer: Vec<Value> = response.json().await.unwrap();
    assert_eq!(answer.len(), 10_000);
    assert!(
        answer
            .iter()
            .zip(&paths)
            .all(|(answer, posted)| answer["path"] == posted["path"])
    );
    assert_eq!(served.database.images().counts().await.unwrap().pending, 10_000);
}

#[tokio::test]
async fn posts_of_many_clients_at_once_each_get_their_own_answer() {
    let served = Served::start().await;
    let mut messages = served.subscribe().await;
    let posts = (0..200).map(|n| {
        // Every path is posted twice.
        let path = served.path(&format!("{}.jpg", n / 2));
        let request = served
            .client
            .post(served.url("/image/post"))
            .body(json!({ "path": path }).to_string());
        tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let status = response.status();
            let answer: Value = response.json().await.unwrap();
            assert_eq!(answer["path"], path);
            assert_eq!(status == StatusCode::OK, answer["duplicate"] == true);
            (answer["id"].as_i64().unwrap(), status == StatusCode::ACCEPTED)
        })
    });
    let mut accepted = Vec::new();
    for post in posts.collect::<Vec<_>>() {
        if let (id, true) = post.await.unwrap() {
            accepted.push(id);
        }
    }
    accepted.sort_unstable();
    assert_eq!(accepted.len(), 100);
    assert_eq!(announced(&mut messages, 100).await, accepted);
}

#[tokio::test]
async fn markup_and_quotes_in_a_path_come_back_as_they_were() {
    let served = Served::start().await;
    let path = served.path("<script>alert('\"')</script> & \u{e4}\u{1f600}.jpg");
    let answer: Value = served.post_image(&path).await.json().await.unwrap();
    assert_eq!(answer["path"], path);
}

#[tokio::test]
async fn a_stopping_receiver_announces_what_it_has_accepted() {
    let served = Served::start().await;
    let paths: Vec<Value> = (0..2500)
        .map(|n| json!({ "path": served.path(&format!("{n}.jpg")) }))
        .collect();
    let response = served
        .post("/images/post", json!({ "paths": paths }).to_string())
        .await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    served.shutdown.trigger();
    served.task.await.unwrap().unwrap();
    assert_eq!(served.database.outbox().pending().await.unwrap(), 0);
}
