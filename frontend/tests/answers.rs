//! What holds for every answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use reqwest::{Method, StatusCode};
use served::Served;

#[tokio::test]
async fn every_page_keeps_to_this_host_and_runs_nothing_inline() {
    let served = Served::start().await;
    let id = served.processed("a.jpg", &["obama"]).await;
    served.waiting("b.jpg").await;
    for path in ["/", &format!("/images/{id}"), "/nowhere", "/?status=done"] {
        let response = served.get(path).await;
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["referrer-policy"], "no-referrer");
        let page = response.text().await.unwrap();
        for forbidden in [
            " style=\"",
            "<style",
            " onclick",
            "src=\"http",
            "href=\"http",
            "src=\"//",
            "href=\"//",
        ] {
            assert!(!page.contains(forbidden), "{forbidden} on {path}");
        }
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
        assert!(page.contains("<a class=\"skip\" href=\"#main\">"));
    }
}

#[tokio::test]
async fn everything_that_a_page_loads_is_there() {
    let served = Served::start().await;
    served.accept(&["a.jpg"]).await;
    let page = served.page("/").await;
    let mut loaded = 0;
    for part in page
        .split(['"'])
        .filter(|part| part.starts_with("/assets/") || part.ends_with("/preview"))
    {
        let response = served.get(part).await;
        assert_eq!(response.status(), StatusCode::OK, "{part}");
        assert!(response.headers().contains_key("cache-control"), "{part}");
        loaded += 1;
    }
    assert_eq!(loaded, 4, "style, script, logo, one small picture");
}

#[tokio::test]
async fn nothing_can_be_written() {
    let served = Served::start().await;
    let id = served.accept(&["a.jpg"]).await[0];
    for path in ["/", &format!("/images/{id}"), &format!("/images/{id}/picture")] {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let response = served
                .client
                .request(method.clone(), served.url(path))
                .send()
                .await
                .unwrap();
            assert_eq!(
                response.status(),
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert!(response.text().await.unwrap().contains("This page only reads"));
        }
    }
}

#[tokio::test]
async fn an_unknown_address_gets_a_page_that_leads_home() {
    let served = Served::start().await;
    let response = served.get("/nowhere/at/all").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let page = response.text().await.unwrap();
    assert!(page.contains("There is nothing here") && page.contains("href=\"/\">All images</a>"));
}

#[tokio::test]
async fn while_the_database_is_away_a_page_says_so_and_tries_again() {
    let served = Served::start().await;
    served.database.close().await;
    for path in ["/", "/images/1", "/images/1/picture"] {
        let response = served.get(path).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(response.headers()["retry-after"], "5");
        let page = response.text().await.unwrap();
        assert!(page.contains("The database is away"));
        assert!(page.contains("<meta http-equiv=\"refresh\" content=\"5\">"));
    }
    assert_eq!(served.get("/alive").await.text().await.unwrap(), "OK");
    let targets = served.get("/mesh").await.text().await.unwrap();
    assert_eq!(targets, r#"{"targets":[]}"#, "it calls nobody");
}
