//! The list of images.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use reqwest::StatusCode;
use safelight_frontend::Settings;
use served::{Served, count, link, rows};

#[tokio::test]
async fn an_empty_list_tells_the_first_curl() {
    let served = Served::start().await;
    let page = served.page("/").await;
    assert!(page.contains("No image has been posted yet"));
    assert!(page.contains("http://127.0.0.1:8000/image/post</code>"));
    assert!(!page.contains("<table"));
}

#[tokio::test]
async fn the_newest_image_comes_first() {
    let served = Served::start().await;
    let mut ids = served.accept(&["a.jpg", "b.jpg", "c.jpg"]).await;
    ids.reverse();
    assert_eq!(rows(&served.page("/").await), ids);
}

#[tokio::test]
async fn pages_lead_through_all_images_and_back() {
    let served = Served::with_settings(Settings {
        page_size: 3,
        ..Settings::default()
    })
    .await;
    let names: Vec<String> = (0..8).map(|n| format!("{n}.jpg")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut ids = served.accept(&names).await;
    ids.reverse();

    let first = served.page("/").await;
    assert_eq!(rows(&first), ids[..3]);
    assert_eq!(link(&first, "prev"), None);
    let second = served.page(&link(&first, "next").unwrap()).await;
    assert_eq!(rows(&second), ids[3..6]);
    let third = served.page(&link(&second, "next").unwrap()).await;
    assert_eq!(rows(&third), ids[6..]);
    assert_eq!(link(&third, "next"), None);

    let back = served.page(&link(&third, "prev").unwrap()).await;
    assert_eq!(rows(&back), ids[3..6]);
    let front = served.get(&link(&back, "prev").unwrap()).await;
    assert_eq!(
        front.status(),
        StatusCode::SEE_OTHER,
        "nothing is newer than what it leads to"
    );
    assert_eq!(front.headers()["location"], "/");
}

#[tokio::test]
async fn a_page_keeps_its_place_when_newer_images_come() {
    let served = Served::with_settings(Settings {
        page_size: 2,
        ..Settings::default()
    })
    .await;
    served.accept(&["a.jpg", "b.jpg", "c.jpg", "d.jpg"]).await;
    let next = link(&served.page("/").await, "next").unwrap();
    let before = rows(&served.page(&next).await);
    served.accept(&["e.jpg", "f.jpg"]).await;
    assert_eq!(rows(&served.page(&next).await), before);
}

#[tokio::test]
async fn every_state_is_counted_and_told() {
    let served = Served::start().await;
    served.accept(&["pending.jpg", "also-pending.jpg"]).await;
    served.waiting("waiting.jpg").await;
    served.failed("failed.jpg", "the file is empty").await;
    served.processed("nobody.jpg", &[]).await;
    served.processed("obama.jpg", &["obama"]).await;
    served.processed("biden.jpg", &["biden"]).await;
    let held = served.accept(&["held.jpg"]).await[0];
    let _claim = served.claim(held).await;

    let page = served.page("/").await;
    for (key, number) in [
        ("all", 8),
        ("pending", 2),
        ("waiting", 1),
        ("processing", 1),
        ("processed", 3),
        ("failed", 1),
    ] {
        assert_eq!(count(&page, key), number, "{key}");
    }
    assert!(
        page.contains("</svg>waiting for recognizer</span>"),
        "waiting is a state of its own"
    );
    assert!(
        page.contains("1 image waits for the recognizer"),
        "and explained on top"
    );
    assert!(page.contains("the file is empty"));
    assert!(page.contains("nobody known"));
    assert!(page.contains("<a href=\"/?person=obama\">obama</a>"));
    assert!(page.contains("alt=\"obama.jpg: obama\""));
}

#[tokio::test]
async fn nothing_is_said_of_waiting_when_nothing_waits() {
    let served = Served::start().await;
    served.accept(&["a.jpg"]).await;
    assert!(!served.page("/").await.contains("class=\"notice\""));
}

#[tokio::test]
async fn a_list_can_be_had_of_one_status() {
    let served = Served::start().await;
    let pending = served.accept(&["pending.jpg"]).await[0];
    let waiting = served.waiting("waiting.jpg").await;
    let failed = served.failed("failed.jpg", "why").await;
    let processed = served.processed("a.jpg", &["obama"]).await;
    for (status, expected) in [
        ("pending", pending),
        ("waiting", waiting),
        ("failed", failed),
        ("processed", processed),
    ] {
        let page = served.page(&format!("/?status={status}")).await;
        assert_eq!(rows(&page), [expected], "{status}");
        assert!(
            page.contains(&format!("<option value=\"{status}\" selected>")),
            "{status}"
        );
    }
}

#[tokio::test]
async fn waiting_images_are_found_behind_many_that_do_not_wait() {
    let served = Served::with_settings(Settings {
        page_size: 2,
        ..Settings::default()
    })
    .await;
    let mut waiting = Vec::new();
    for n in 0..3 {
        waiting.insert(0, served.waiting(&format!("{n}.jpg")).await);
    }
    let names: Vec<String> = (0..1200).map(|n| format!("pending-{n}.jpg")).collect();
    served
        .accept(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let page = served.page("/?status=waiting").await;
    assert_eq!(rows(&page), waiting[..2]);
    let page = served.page(&link(&page, "next").unwrap()).await;
    assert_eq!(rows(&page), waiting[2..]);
    assert_eq!(link(&page, "next"), None);
    let back = served.get(&link(&page, "prev").unwrap()).await;
    assert_eq!(
        back.headers()["location"],
        "/?status=waiting",
        "nothing is newer than the first page"
    );
}

#[tokio::test]
async fn a_list_can_be_had_of_one_person_over_several_pages() {
    let served = Served::with_settings(Settings {
        page_size: 2,
        ..Settings::default()
    })
    .await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.insert(0, served.processed(&format!("{n}.jpg"), &["Anna & Bob"]).await);
        served.processed(&format!("other-{n}.jpg"), &["obama"]).await;
    }
    let page = served.page("/?status=processed&person=Anna+%26+Bob").await;
    assert_eq!(rows(&page), ids[..2]);
    assert!(page.contains("value=\"Anna &#38; Bob\""));
    let next = link(&page, "next").unwrap();
    assert!(
        next.starts_with("/?status=processed&person=Anna+%26+Bob&older="),
        "{next}"
    );
    assert_eq!(rows(&served.page(&next).await), ids[2..]);
}

#[tokio::test]
async fn a_filter_that_matches_nothing_says_so() {
    let served = Served::start().await;
    served.accept(&["a.jpg"]).await;
    let page = served.page("/?person=nobody").await;
    assert!(page.contains("No image matches"));
    assert!(page.contains("href=\"/\">Show all</a>"));
}

#[tokio::test]
async fn markup_and_quotes_are_shown_as_text() {
    let served = Served::start().await;
    let name = "<script>alert(1)<script>\"'&<img src=x onerror=alert(2)>.jpg";
    served.accept(&[name]).await;
    served.failed("b.jpg", "<b>bold</b> \"reason\"").await;
    let person = "\"><svg onload=alert(3)>";
    let id = served.processed("c.jpg", &[person]).await;
    for page in [
        served.page("/").await,
        served.page("/?person=%22%3E%3Csvg+onload%3Dalert(3)%3E").await,
        served.page(&format!("/images/{id}")).await,
    ] {
        for markup in ["<script>alert", "<img src=x", "<b>bold", "<svg onload"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
    }
    let page = served.page("/").await;
    assert!(
        page.contains("&#60;script&#62;alert(1)"),
        "it is shown, and not left out"
    );
    assert!(
        page.contains("person=%22%3E%3Csvg+onload%3Dalert%283%29%3E"),
        "and links to it work"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_is_told() {
    let served = Served::start().await;
    for query in ["status=done", "older=x", "newer=1e9", "status=%ff%fe&status=1"] {
        let response = served.get(&format!("/?{query}")).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{query}");
        assert!(
            response
                .text()
                .await
                .unwrap()
                .contains("This address does not work")
        );
    }
}
