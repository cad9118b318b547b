//! Records as JSON.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use std::time::Duration;

use reqwest::StatusCode;
use safelight_database::{ClaimOutcome, NewFace, NewMatch, Recognition, TaskKind};
use serde_json::{Value, json};
use served::{Served, problem};

async fn posted(served: &Served, count: usize) -> Vec<i64> {
    let paths: Vec<Value> = (0..count)
        .map(|n| json!({ "path": served.path(&format!("{n}.jpg")) }))
        .collect();
    let response = served
        .post("/images/post", json!({ "paths": paths }).to_string())
        .await;
    let answer: Vec<Value> = response.json().await.unwrap();
    answer.iter().map(|entry| entry["id"].as_i64().unwrap()).collect()
}

fn ids(page: &Value) -> Vec<i64> {
    page["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["id"].as_i64().unwrap())
        .collect()
}

#[tokio::test]
async fn pages_lead_through_all_records_once() {
    let served = Served::start().await;
    let all = posted(&served, 7).await;
    let mut seen = Vec::new();
    let mut next = "/?limit=3".to_owned();
    loop {
        let page: Value = served.get(&next).await.json().await.unwrap();
        seen.extend(ids(&page));
        match page["next"].as_i64() {
            Some(after) => next = format!("/?limit=3&after={after}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_page_can_be_had_of_one_status() {
    let served = Served::start().await;
    let all = posted(&served, 3).await;
    let tasks = served.database.tasks();
    let ClaimOutcome::Claimed(claim) = tasks
        .claim_subject(all[1], TaskKind::Identify, Duration::from_secs(30))
        .await
        .unwrap()
    else {
        panic!("a new image can be claimed")
    };
    tasks
        .fail(&claim, safelight_database::Fault::Bad, "the file is empty")
        .await
        .unwrap();
    let page: Value = served.get("/?status=failed").await.json().await.unwrap();
    assert_eq!(ids(&page), [all[1]]);
    assert_eq!(page["images"][0]["reason"], "the file is empty");
    let page: Value = served.get("/?status=pending").await.json().await.unwrap();
    assert_eq!(ids(&page), [all[0], all[2]]);
}

#[tokio::test]
async fn a_query_that_cannot_be_is_told_what_was_expected() {
    let served = Served::start().await;
    for query in ["limit=0", "limit=1001", "limit=x", "after=x", "status=done"] {
        let response = served.get(&format!("/?{query}")).await;
        let (kind, _) = problem(response, StatusCode::BAD_REQUEST).await;
        assert_eq!(kind, "query-wrong", "{query}");
    }
}

#[tokio::test]
async fn one_record_comes_with_its_tasks_and_faces() {
    let served = Served::start().await;
    let id = posted(&served, 1).await[0];
    let tasks = served.database.tasks();
    let ClaimOutcome::Claimed(claim) = tasks
        .claim_subject(id, TaskKind::Identify, Duration::from_secs(30))
        .await
        .unwrap()
    else {
        panic!("a new image can be claimed")
    };
    let person = NewMatch {
        person: "obama".into(),
        sample: "obama_1.jpg".into(),
        distance: Some(0.25),
    };
    let face = NewFace {
        left: 10,
        top: 20,
        width: 30,
        height: 40,
        landmarks: vec![(11, 22)],
        descriptor: vec![0.5; 128],
        person: Some(person),
    };
    let recognition = Recognition {
        width: 640,
        height: 480,
        model: "dlib".into(),
        model_version: "1".into(),
        faces: vec![face],
    };
    tasks.complete(&claim, &recognition).await.unwrap();
    let detail: Value = served.get(&format!("/images/{id}")).await.json().await.unwrap();
    assert_eq!(detail["status"], "processed");
    assert_eq!(detail["people"], json!(["obama"]));
    assert_eq!((&detail["width"], &detail["height"]), (&json!(640), &json!(480)));
    assert_eq!(
        detail["faces"],
        json!([{ "left": 10, "top": 20, "width": 30, "height": 40, "person": "obama", "sample": "obama_1.jpg",
                 "distance": 0.25 }])
    );
    assert_eq!(detail["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(detail["outputs"], json!([]));
}

#[tokio::test]
async fn a_record_that_does_not_exist_is_told() {
    let served = Served::start().await;
    for id in ["1", "0", "-1", "x", "99999999999999999999", "%00", "<b>"] {
        let response = served.get(&format!("/images/{id}")).await;
        assert_eq!(
            problem(response, StatusCode::NOT_FOUND).await.0,
            "image-unknown",
            "{id}"
        );
    }
}
