//! What was made of an upload: in its record, and by its link.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use std::time::Duration;

use reqwest::StatusCode;
use safelight_database::{ClaimOutcome, NewBatch, NewImage, NewOutput, Prepared, TaskKind};
use safelight_receiver::Limits;
use safelight_store::Key;
use serde_json::{Value, json};
use served::{Served, problem};

const LEASE: Duration = Duration::from_secs(60);

/// A picture of whose thumbnail the record says that it lies there.
async fn picture(served: &Served, uri: String) -> i64 {
    let batch = NewBatch {
        email: Some("a@example.org".to_owned()),
        ..NewBatch::default()
    };
    let image = NewImage {
        path: served.path("cat.png"),
        project: None,
    };
    let id = served
        .database
        .images()
        .accept_batch(&batch, &[image])
        .await
        .unwrap()[0]
        .id;
    let tasks = served.database.tasks();
    let claim = async |kind: TaskKind| {
        let detail = served.database.images().get(id).await.unwrap().unwrap();
        let task = detail
            .tasks
            .iter()
            .find(|task| task.kind == kind.as_str())
            .unwrap();
        match tasks.claim_subject(task.id, kind, LEASE).await.unwrap() {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        }
    };
    let prepared = Prepared {
        content_type: "image/png".to_owned(),
        bytes: 1234,
        width: 640,
        height: 480,
        tasks: vec![TaskKind::Thumbnail],
    };
    let preparing = claim(TaskKind::Prepare).await;
    tasks.complete_prepare(&preparing, &prepared).await.unwrap();
    let output = NewOutput {
        role: "thumbnail-small".to_owned(),
        uri,
        content_type: "image/png".to_owned(),
        width: 120,
        height: 90,
        bytes: 5,
        blake3: [7; 32],
    };
    let making = claim(TaskKind::Thumbnail).await;
    tasks.complete_outputs(&making, &[output]).await.unwrap();
    id
}

async fn stored(served: &Served) -> String {
    let store = served.store.clone().unwrap();
    let key: Key = "output/1/cat_t.png".parse().unwrap();
    let uri = store.uri(&key);
    tokio::task::spawn_blocking(move || store.put_once(&key, b"small"))
        .await
        .unwrap()
        .unwrap();
    uri
}

#[tokio::test]
async fn a_record_tells_of_the_job_its_tasks_and_what_was_made() {
    let served = Served::with_store(Limits::default()).await;
    let uri = stored(&served).await;
    let id = picture(&served, uri.clone()).await;
    let record: Value = served.get(&format!("/images/{id}")).await.json().await.unwrap();
    assert_eq!(record["status"], "processed");
    assert_eq!(
        (&record["content_type"], &record["bytes"]),
        (&json!("image/png"), &json!(1234))
    );
    let output = json!({
        "role": "thumbnail-small", "link": format!("/images/{id}/outputs/thumbnail-small"), "uri": uri,
        "content_type": "image/png", "width": 120, "height": 90, "bytes": 5,
    });
    assert_eq!(record["outputs"], json!([output]));
    let job = &record["job"];
    assert!(job["joined_at_ms"].is_i64(), "{job}");
    let told = &job["notifications"][0];
    assert_eq!(
        (&told["channel"], &told["state"]),
        (&json!("mail"), &json!("ready"))
    );
    let kinds: Vec<_> = record["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| &task["kind"])
        .collect();
    assert_eq!(kinds, ["prepare", "thumbnail"]);
}

#[tokio::test]
async fn a_link_leads_to_the_output_itself() {
    let served = Served::with_store(Limits::default()).await;
    let id = picture(&served, stored(&served).await).await;
    let answer = served.get(&format!("/images/{id}/outputs/thumbnail-small")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "image/png");
    assert_eq!(answer.headers()["content-length"], "5");
    assert_eq!(
        answer.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert_eq!(answer.bytes().await.unwrap(), "small");
}

#[tokio::test]
async fn a_record_leads_nowhere_but_into_the_store() {
    let served = Served::with_store(Limits::default()).await;
    let elsewhere = served.path("secret.png");
    std::fs::write(&elsewhere, "secret").unwrap();
    let id = picture(&served, elsewhere).await;
    let answer = served.get(&format!("/images/{id}/outputs/thumbnail-small")).await;
    let (kind, _) = problem(answer, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(kind, "output-unreadable");
}

#[tokio::test]
async fn what_was_not_made_is_not_found() {
    let served = Served::with_store(Limits::default()).await;
    let id = picture(&served, stored(&served).await).await;
    let answer = served.get(&format!("/images/{id}/outputs/animation")).await;
    let (kind, detail) = problem(answer, StatusCode::NOT_FOUND).await;
    assert_eq!(kind, "output-unknown");
    assert!(detail.contains("'animation'"), "{detail}");
}
