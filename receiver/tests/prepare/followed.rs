//! Posts of paths that say whom to tell when the work has ended.

use reqwest::StatusCode;
use safelight_receiver::Limits;
use serde_json::{Value, json};

use crate::served::{Served, announced, problem, problem_of};

async fn kinds(served: &Served, id: &Value) -> Vec<String> {
    let record = served.database.images().get(id.as_i64().unwrap()).await.unwrap();
    record.unwrap().tasks.into_iter().map(|task| task.kind).collect()
}

async fn post(served: &Served, route: &str, body: Value) -> reqwest::Response {
    served.post(route, body.to_string()).await
}

#[tokio::test]
async fn a_path_posted_with_an_address_is_prepared() {
    let served = Served::start().await;
    let mut messages = served
        .queue
        .subscribe("prepare", safelight_queue::CHANNEL, 64)
        .unwrap();
    let path = served.path("a.jpg");
    for (body, status) in [
        (json!({ "path": path, "email": "a@b.c" }), StatusCode::ACCEPTED),
        (
            json!({ "path": path, "webhook": "https://example.org/told" }),
            StatusCode::OK,
        ),
    ] {
        let response = post(&served, "/image/post", body).await;
        assert_eq!(response.status(), status);
        let answer: Value = response.json().await.unwrap();
        assert_eq!(kinds(&served, &answer["id"]).await, ["prepare"]);
    }
    assert_eq!(announced(&mut messages, 1).await.len(), 1);
}

#[tokio::test]
async fn a_path_posted_with_nobody_to_tell_is_identified_as_ever() {
    let served = Served::start().await;
    for (number, body) in [
        json!({ "path": served.path("0") }),
        json!({ "path": served.path("1"), "email": null, "webhook": null }),
    ]
    .into_iter()
    .enumerate()
    {
        let answer: Value = post(&served, "/image/post", body).await.json().await.unwrap();
        assert_eq!(kinds(&served, &answer["id"]).await, ["identify"], "{number}");
    }
}

#[tokio::test]
async fn a_wrong_address_is_refused_and_the_path_not_recorded() {
    let served = Served::start().await;
    for (member, value, wanted) in [
        ("email", json!("a@b"), "email-refused"),
        ("email", json!(""), "email-refused"),
        ("email", json!("a@b.c\r\nBcc: x@y.z"), "email-refused"),
        ("email", json!(["a@b.c"]), "email-refused"),
        ("webhook", json!("http://example.org/"), "webhook-refused"),
        ("webhook", json!(7), "webhook-refused"),
    ] {
        let body = json!({ "path": served.path("a.jpg"), member: value });
        let response = post(&served, "/image/post", body).await;
        let (kind, _) = problem(response, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert_eq!(kind, wanted, "{value}");
    }
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
}

#[tokio::test]
async fn webhooks_over_http_are_taken_where_that_is_allowed() {
    let served = Served::with_limits(Limits {
        webhook_http: true,
        ..Limits::default()
    })
    .await;
    let body = json!({ "path": served.path("a.jpg"), "webhook": "http://127.0.0.1:9000/told" });
    let response = post(&served, "/image/post", body).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_wrong_address_in_a_bulk_post_refuses_its_entry_and_no_other() {
    let served = Served::start().await;
    let path = |name: &str| served.path(name);
    let body = json!({ "paths": [
        { "path": path("plain.jpg") },
        { "path": path("wrong.jpg"), "email": "nobody" },
        { "path": path("a1.jpg"), "email": "a@b.c" },
        { "path": path("b.jpg"), "webhook": "https://example.org/told" },
        { "path": path("a2.jpg"), "email": "a@b.c" },
        { "path": path("a1.jpg"), "email": "b@b.c" },
    ]});
    let response = post(&served, "/images/post", body).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    let entries: Vec<Value> = response.json().await.unwrap();
    assert_eq!(entries.len(), 6);
    let (kind, _) = problem_of(&entries[1]["error"], StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(kind, "email-refused");
    assert_eq!(entries[1]["path"], path("wrong.jpg"));
    for (place, name, wanted) in [
        (0, "plain.jpg", "identify"),
        (2, "a1.jpg", "prepare"),
        (3, "b.jpg", "prepare"),
        (4, "a2.jpg", "prepare"),
    ] {
        assert_eq!(entries[place]["path"], path(name));
        assert_eq!(kinds(&served, &entries[place]["id"]).await, [wanted], "{name}");
    }
    assert_eq!(entries[5]["id"], entries[2]["id"]);
    assert_eq!(entries[5]["duplicate"], true);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 4);
}

#[tokio::test]
async fn an_address_beside_the_list_holds_for_entries_that_name_none() {
    let served = Served::start().await;
    let body = json!({ "email": "a@b.c", "paths": [
        { "path": served.path("a.jpg") },
        { "path": served.path("b.jpg"), "email": "b@b.c" },
        { "path": served.path("c.jpg"), "email": null },
    ]});
    let entries: Vec<Value> = post(&served, "/images/post", body).await.json().await.unwrap();
    for entry in &entries {
        assert_eq!(kinds(&served, &entry["id"]).await, ["prepare"]);
    }

    let body = json!({ "email": "nobody", "paths": [
        { "path": served.path("d.jpg") },
        { "path": served.path("e.jpg"), "email": "b@b.c" },
    ]});
    let entries: Vec<Value> = post(&served, "/images/post", body).await.json().await.unwrap();
    assert_eq!(entries[0]["error"]["type"], "urn:safelight:problem:email-refused");
    assert_eq!(entries[1]["status"], "pending");
}

#[tokio::test]
async fn a_bulk_post_for_too_many_addresses_is_refused_whole() {
    let served = Served::start().await;
    let body = |addresses: usize| {
        let entry = |number| {
            json!({
                "path": served.path(&format!("{number}.jpg")),
                "email": format!("a{number}@b.c"),
            })
        };
        json!({ "paths": (0..addresses).map(entry).collect::<Vec<_>>() })
    };
    let response = post(&served, "/images/post", body(101)).await;
    let (kind, detail) = problem(response, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(kind, "too-many-addresses");
    assert!(detail.contains("101"), "{detail}");
    assert_eq!(served.database.images().counts().await.unwrap().pending, 0);
    let response = post(&served, "/images/post", body(100)).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(served.database.images().counts().await.unwrap().pending, 100);
}
