//! Looking at the mesh, which needs no leave.

use reqwest::{Method, StatusCode};

use crate::load::identify;
use crate::page::{EVERYTHING, NOTHING, Page, json, problem};

#[tokio::test]
async fn the_page_shows_every_target_with_its_endpoints() {
    let page = Page::of(2, NOTHING).await;
    for _ in 0..10 {
        identify(&page.target.channel()).await.unwrap();
    }
    let mesh = json(page.get("/mesh").await, StatusCode::OK).await;
    let targets = mesh["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 1);
    let target = &targets[0];
    assert_eq!(target["target"], "recognizer");
    assert_eq!(target["available"], true);
    assert!(target["retries_left"].is_u64());
    let endpoints = target["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 2);
    let mut calls = 0.0;
    for endpoint in endpoints {
        assert_eq!(endpoint["circuit"], "closed");
        assert_eq!(endpoint["standing"], "ready");
        assert_eq!(endpoint["transitions"], serde_json::json!([]));
        calls += endpoint["calls_per_second"].as_f64().unwrap();
    }
    assert!(calls > 0.0, "{mesh}");
}

#[tokio::test]
async fn a_browser_gets_a_page_whose_parts_all_come_from_the_service_itself() {
    for (allowed, orders) in [(NOTHING, "false"), (EVERYTHING, "true")] {
        let page = Page::of(1, allowed).await;
        let request = page.request(Method::GET, "/mesh").header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        );
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        let html = response.text().await.unwrap();
        assert!(html.contains(&format!("data-orders=\"{orders}\"")), "{html}");
        for (part, kind) in [
            ("/mesh/page.js", "text/javascript; charset=utf-8"),
            ("/mesh/page.css", "text/css; charset=utf-8"),
        ] {
            assert!(html.contains(part), "{html}");
            let response = page.get(part).await;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()["content-type"], kind);
        }
    }
}

#[tokio::test]
async fn a_service_without_targets_shows_none() {
    let mesh = safelight_service::MeshAdmin::new(NOTHING);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = safelight_service::Shutdown::new();
    tokio::spawn(safelight_service::serve(
        listener,
        mesh.router(),
        shutdown.clone(),
    ));
    let response = reqwest::get(format!("http://{address}/mesh")).await.unwrap();
    assert_eq!(
        json(response, StatusCode::OK).await,
        serde_json::json!({"targets": []})
    );
    shutdown.trigger();
}

#[tokio::test]
async fn an_explanation_is_json_or_the_text_that_was_asked_for() {
    let page = Page::of(1, NOTHING).await;
    let path = "/mesh/explain?target=recognizer";
    let explanation = json(page.get(path).await, StatusCode::OK).await;
    let wanted = format!("would go to {}", page.endpoint(0));
    assert_eq!(explanation["answer"], wanted.as_str());
    assert_eq!(explanation["endpoints"][0]["likelihood"], 1.0);

    let request = page
        .request(Method::GET, path)
        .header("accept", "text/plain; charset=utf-8, */*");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    let text = response.text().await.unwrap();
    assert!(text.contains(&format!("a call now {wanted}\n")), "{text}");

    let request = page
        .request(Method::GET, path)
        .header("accept", "application/json, text/plain");
    json(request.send().await.unwrap(), StatusCode::OK).await;
}

#[tokio::test]
async fn an_explanation_of_an_unknown_target_or_of_none_names_the_known_ones() {
    let page = Page::of(1, NOTHING).await;
    let response = page.get("/mesh/explain?target=ledger").await;
    let detail = problem(response, StatusCode::NOT_FOUND, "mesh-target-unknown").await;
    assert_eq!(detail, "there is no target ledger; this service has recognizer");
    let response = page.get("/mesh/explain").await;
    let detail = problem(response, StatusCode::BAD_REQUEST, "mesh-target-missing").await;
    assert!(detail.contains("this service has recognizer"), "{detail}");
}

#[tokio::test]
async fn another_method_is_a_problem_like_any_other() {
    let page = Page::of(1, NOTHING).await;
    let response = page.post("/mesh", "").await;
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    problem(response, StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed").await;
}
