//! Orders over HTTP.

use reqwest::{Method, StatusCode};

use crate::load::identify;
use crate::page::{EVERYTHING, NOTHING, Page, json, problem, until};

fn order(endpoint: &str, order: &str) -> String {
    format!("/mesh/targets/recognizer/endpoints/{endpoint}/{order}")
}

#[tokio::test]
async fn an_endpoint_is_forced_open_and_reset() {
    let page = Page::of(2, EVERYTHING).await;
    let endpoint = page.endpoint(0);
    let response = page
        .post(
            &order(&endpoint, "force-open"),
            r#"{"why": "its disk is exchanged"}"#,
        )
        .await;
    let ordered = json(response, StatusCode::OK).await;
    assert_eq!(ordered["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(ordered["endpoints"][0]["endpoint"], endpoint.as_str());
    assert_eq!(ordered["endpoints"][0]["circuit"], "open");
    assert_eq!(ordered["endpoints"][0]["forced"], true);
    for _ in 0..10 {
        identify(&page.target.channel()).await.unwrap();
    }
    assert_eq!((page.calls(0), page.calls(1)), (0, 10));
    let explanation = page
        .get("/mesh/explain?target=recognizer")
        .await
        .text()
        .await
        .unwrap();
    assert!(explanation.contains("its disk is exchanged"), "{explanation}");

    let ordered = json(page.post(&order(&endpoint, "reset"), "").await, StatusCode::OK).await;
    assert_eq!(ordered["endpoints"][0]["forced"], false);
    until("it is ready again", || {
        page.target
            .snapshot()
            .endpoints
            .iter()
            .all(|endpoint| endpoint.standing == "ready")
    })
    .await;
}

#[tokio::test]
async fn all_endpoints_are_forced_closed_at_once() {
    let page = Page::of(3, EVERYTHING).await;
    let ordered = json(page.post(&order("all", "force-closed"), "").await, StatusCode::OK).await;
    let endpoints = ordered["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 3);
    for endpoint in endpoints {
        assert_eq!(
            (&endpoint["circuit"], &endpoint["forced"]),
            (&"closed".into(), &true.into())
        );
    }
}

#[tokio::test]
async fn orders_are_refused_where_they_are_not_allowed_and_say_what_would() {
    let page = Page::of(1, NOTHING).await;
    for name in ["force-open", "force-closed", "reset"] {
        let response = page.post(&order("all", name), "").await;
        let detail = problem(response, StatusCode::FORBIDDEN, "mesh-admin-off").await;
        assert!(detail.contains("MESH_ADMIN=true"), "{detail}");
    }
    assert!(!page.target.snapshot().endpoints[0].forced);
    identify(&page.target.channel()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let page = Page::of(1, EVERYTHING).await;
    let response = page.post("/mesh/targets/ledger/endpoints/all/reset", "").await;
    let detail = problem(response, StatusCode::NOT_FOUND, "mesh-target-unknown").await;
    assert!(detail.contains("recognizer"), "{detail}");
    let response = page.post(&order("10.9.8.7:1", "reset"), "").await;
    let detail = problem(response, StatusCode::NOT_FOUND, "mesh-endpoint-unknown").await;
    assert!(detail.contains(&page.endpoint(0)), "{detail}");
    let response = page.post(&order("all", "explode"), "").await;
    let detail = problem(response, StatusCode::NOT_FOUND, "mesh-order-unknown").await;
    assert!(detail.contains("force-open"), "{detail}");
}

#[tokio::test]
async fn a_body_that_cannot_be_taken_changes_nothing() {
    let page = Page::of(1, EVERYTHING).await;
    let long = format!(r#"{{"why": "{}"}}"#, "x".repeat(201));
    for body in ["no json", r#"{"reason": "?"}"#, r#"{"why": "two\nlines"}"#, &long] {
        let response = page.post(&order("all", "force-open"), body).await;
        problem(response, StatusCode::BAD_REQUEST, "mesh-body-refused").await;
    }
    let response = page.post(&order("all", "force-open"), &"x".repeat(100_000)).await;
    problem(response, StatusCode::PAYLOAD_TOO_LARGE, "mesh-body-refused").await;
    assert!(!page.target.snapshot().endpoints[0].forced);
}

#[tokio::test]
async fn a_page_of_another_site_cannot_give_orders() {
    let page = Page::of(1, EVERYTHING).await;
    let request = page.request(Method::POST, &order("all", "force-open"));
    let response = request
        .header("origin", "https://evil.example")
        .send()
        .await
        .unwrap();
    problem(response, StatusCode::FORBIDDEN, "mesh-other-site").await;
    assert!(!page.target.snapshot().endpoints[0].forced);
}
