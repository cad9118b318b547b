//! Faults over HTTP.

use reqwest::{Method, StatusCode};
use safelight_service::MeshAdminArgs;
use serde_json::{Value, json};
use tonic::Code;

use crate::load::identify;
use crate::page::{self, EVERYTHING, Page, problem, until};

const PATH: &str = "/mesh/targets/recognizer/faults";

async fn refused(page: &Page, body: &Value) -> String {
    problem(
        page.put(PATH, body).await,
        StatusCode::BAD_REQUEST,
        "mesh-body-refused",
    )
    .await
}

#[tokio::test]
async fn faults_are_put_seen_and_deleted() {
    let page = Page::of(1, EVERYTHING).await;
    let none = page::json(page.get(PATH).await, StatusCode::OK).await;
    assert_eq!(none, json!({"faults": [], "end_in_seconds": null}));

    let faults = json!([
        {"endpoint": page.endpoint(0), "percent": 100.0, "kind": "delay", "delay_ms": 1},
        {"endpoint": "all", "percent": 100.0, "kind": "abort", "code": "DATA_LOSS", "message": "game day"},
    ]);
    let put = page
        .put(PATH, &json!({"faults": faults, "for_seconds": 60}))
        .await;
    assert_eq!(page::json(put, StatusCode::OK).await["faults"], faults);
    let status = identify(&page.target.channel()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "game day"));
    assert_eq!(page.calls(0), 0);
    let seen = page::json(page.get(PATH).await, StatusCode::OK).await;
    assert_eq!(seen["faults"], faults);
    let end = seen["end_in_seconds"].as_f64().unwrap();
    assert!(end > 30.0 && end <= 60.0, "{end}");
    let mesh = page::json(page.get("/mesh").await, StatusCode::OK).await;
    assert_eq!(mesh["targets"][0]["faults"].as_array().unwrap().len(), 2);

    let deleted = page.request(Method::DELETE, PATH).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::NO_CONTENT);
    identify(&page.target.channel()).await.unwrap();
}

#[tokio::test]
async fn faults_end_by_themselves_after_their_time_and_after_ten_minutes_by_default() {
    let page = Page::of(1, EVERYTHING).await;
    let faults = json!([{"percent": 50, "kind": "black_hole"}]);
    let put = page.put(PATH, &json!({"faults": faults})).await;
    let put = page::json(put, StatusCode::OK).await;
    assert_eq!(
        put["faults"],
        json!([{"endpoint": "all", "percent": 50.0, "kind": "black_hole"}])
    );
    let end = put["end_in_seconds"].as_f64().unwrap();
    assert!(end > 570.0 && end <= 600.0, "{end}");

    page.put(PATH, &json!({"faults": faults, "for_seconds": 0.1}))
        .await;
    until("they have ended", || page.target.faults().faults.is_empty()).await;
}

#[tokio::test]
async fn faults_that_cannot_be_are_refused_and_say_why() {
    let page = Page::of(1, EVERYTHING).await;
    let abort = |code: &str| json!({"faults": [{"percent": 1, "kind": "abort", "code": code}]});
    for (body, why) in [
        (
            json!({"faults": [{"percent": 101, "kind": "black_hole"}]}),
            "at most 100",
        ),
        (
            json!({"faults": [{"percent": 0, "kind": "black_hole"}]}),
            "more than 0",
        ),
        (
            json!({"faults": [{"percent": -3, "kind": "black_hole"}]}),
            "more than 0",
        ),
        (json!({"faults": [{"kind": "black_hole"}]}), "percent"),
        (
            json!({"faults": [{"percent": 1, "kind": "earthquake"}]}),
            "black_hole",
        ),
        (json!({"faults": [{"percent": 1, "kind": "delay"}]}), "delay_ms"),
        (
            json!({"faults": [{"percent": 1, "kind": "delay", "delay_ms": 60_001}]}),
            "too long",
        ),
        (
            json!({"faults": [{"percent": 1, "kind": "delay", "delay_ms": 1, "code": "UNKNOWN"}]}),
            "delay_ms",
        ),
        (abort("OK"), "other than OK"),
        (abort("BROKEN"), "UNAVAILABLE"),
        (json!({"faults": [{"percent": 1, "kind": "abort"}]}), "code"),
        (
            json!({"faults": [{"percent": 1, "kind": "black_hole", "endpont": "a"}]}),
            "endpont",
        ),
        (
            json!({"faults": [{"percent": 1, "kind": "black_hole", "endpoint": "a:1"}]}),
            "it has 127.0.0.1",
        ),
        (json!({"faults": [], "for_seconds": 3_601}), "at most 3600s"),
        (json!({"faults": [], "for_seconds": 0}), "more than 0"),
        (json!({"faults": [], "for_seconds": -1}), "more than 0"),
        (json!({}), "faults"),
    ] {
        let detail = refused(&page, &body).await;
        assert!(detail.contains(why), "{body}: {detail}");
    }
    assert!(page.target.faults().faults.is_empty());
}

#[tokio::test]
async fn faults_are_refused_where_they_are_not_allowed_and_say_what_would() {
    let orders_only = MeshAdminArgs {
        admin: true,
        faults: false,
    };
    let page = Page::of(1, orders_only).await;
    let body = json!({"faults": [{"percent": 100, "kind": "black_hole"}]});
    let delete = page.request(Method::DELETE, PATH).send().await.unwrap();
    for response in [page.get(PATH).await, page.put(PATH, &body).await, delete] {
        let detail = problem(response, StatusCode::FORBIDDEN, "mesh-faults-off").await;
        assert!(detail.contains("MESH_FAULTS=true"), "{detail}");
    }
    assert!(page.target.faults().faults.is_empty());
}

#[tokio::test]
async fn faults_of_an_unknown_target_are_not_found() {
    let page = Page::of(1, EVERYTHING).await;
    let response = page.get("/mesh/targets/ledger/faults").await;
    let detail = problem(response, StatusCode::NOT_FOUND, "mesh-target-unknown").await;
    assert!(detail.contains("recognizer"), "{detail}");
}
