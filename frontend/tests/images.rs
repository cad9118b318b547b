//! The page of one image, and the picture itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod served;

use reqwest::StatusCode;
use safelight_frontend::Settings;
use served::{PNG, Served, face, recognition};

#[tokio::test]
async fn the_page_of_an_image_shows_boxes_names_and_distances() {
    let served = Served::start().await;
    std::fs::write(served.pictures.join("a.png"), PNG).unwrap();
    let id = served.accept(&["a.png"]).await[0];
    let claim = served.claim(id).await;
    let faces = vec![face(20, Some("obama")), face(120, None), face(220, Some("biden"))];
    served
        .database
        .tasks()
        .complete(&claim, &recognition(faces))
        .await
        .unwrap();
    let page = served.page(&format!("/images/{id}")).await;
    assert!(page.contains(&format!("<img src=\"/images/{id}/picture\" alt=\"a.png: ")));
    assert!(page.contains("<svg viewBox=\"0 0 640 480\""));
    assert_eq!(page.matches("<rect x=").count(), 3);
    assert!(page.contains("<rect x=\"120\" y=\"40\" width=\"80\" height=\"90\""));
    assert!(page.contains(">1 obama</text>"));
    assert!(page.contains("like obama_1.jpg"));
    assert!(page.contains("0.375"));
    assert!(page.contains("nobody known"));
    assert!(page.contains("dlib 1"));
}

#[tokio::test]
async fn a_waiting_image_says_for_what_and_that_nothing_failed() {
    let served = Served::start().await;
    let id = served.waiting("a.jpg").await;
    let page = served.page(&format!("/images/{id}")).await;
    assert!(page.contains("Waits for the recognizer."));
    assert!(page.contains("no try was used"));
    assert!(page.contains("connection refused"));
    assert!(!page.contains("Failed:"));
}

#[tokio::test]
async fn a_failed_image_says_why() {
    let served = Served::start().await;
    let id = served
        .failed("a.jpg", "the picture is damaged: it ends in the middle")
        .await;
    let page = served.page(&format!("/images/{id}")).await;
    assert!(page.contains("<b>Failed:</b> the picture is damaged: it ends in the middle"));
    assert!(
        page.contains("name=\"settled\""),
        "it need not be looked at again"
    );
}

#[tokio::test]
async fn a_picture_that_is_gone_is_told_on_its_page() {
    let served = Served::start().await;
    let id = served.accept(&["gone.jpg"]).await[0];
    let page = served.page(&format!("/images/{id}")).await;
    assert!(page.contains("The picture cannot be shown: there is no such file."));
    assert!(!page.contains("<img"));
    let response = served.get(&format!("/images/{id}/picture")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_picture_is_sent_as_it_lies_in_the_storage() {
    let served = Served::start().await;
    let mut large = PNG.to_vec();
    large.extend((0..1_000_000_u32).map(|n| (n * 31 % 251) as u8));
    // The name says nothing: the first bytes decide.
    std::fs::write(served.pictures.join("a.txt"), &large).unwrap();
    let id = served.accept(&["a.txt"]).await[0];
    let response = served.get(&format!("/images/{id}/picture")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(headers["content-type"], "image/png");
    assert_eq!(headers["content-length"], large.len().to_string());
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["content-security-policy"], "default-src 'none'; sandbox");
    assert!(headers["cache-control"].to_str().unwrap().contains("private"));
    assert!(response.bytes().await.unwrap() == large);
}

#[tokio::test]
async fn a_picture_that_a_browser_has_is_not_sent_again_until_it_changes() {
    let served = Served::start().await;
    let file = served.pictures.join("a.png");
    std::fs::write(&file, PNG).unwrap();
    let id = served.accept(&["a.png"]).await[0];
    let url = served.url(&format!("/images/{id}/picture"));
    let tag = served.client.get(&url).send().await.unwrap().headers()["etag"].clone();
    let again = || served.client.get(&url).header("if-none-match", &tag).send();
    let response = again().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(response.bytes().await.unwrap().len(), 0);
    std::fs::write(&file, [PNG, b"more"].concat()).unwrap();
    assert_eq!(again().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_picture_is_never_sent() {
    let served = Served::start().await;
    std::fs::write(served.pictures.join("a.jpg"), "<html><script>alert(1)</script>").unwrap();
    std::fs::write(
        served.pictures.join("b.svg"),
        "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    )
    .unwrap();
    std::fs::write(served.pictures.join("empty.jpg"), "").unwrap();
    for id in served.accept(&["a.jpg", "b.svg", "empty.jpg"]).await {
        let response = served.get(&format!("/images/{id}/picture")).await;
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert!(!response.text().await.unwrap().contains("alert(1)"));
    }
}

#[tokio::test]
async fn a_link_that_came_to_lead_out_later_is_not_followed() {
    let served = Served::start().await;
    let id = served.accept(&["a.png"]).await[0];
    std::fs::write(served.folder.path().join("secret.png"), PNG).unwrap();
    std::os::unix::fs::symlink("../secret.png", served.pictures.join("a.png")).unwrap();
    let response = served.get(&format!("/images/{id}/picture")).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_list_shows_small_files_and_a_placeholder_for_the_others() {
    let served = Served::with_settings(Settings {
        inline_limit: 100,
        ..Settings::default()
    })
    .await;
    std::fs::write(served.pictures.join("small.png"), PNG).unwrap();
    std::fs::write(served.pictures.join("large.png"), [PNG, &[0; 100]].concat()).unwrap();
    std::fs::write(served.pictures.join("text.jpg"), "text").unwrap();
    let ids = served
        .accept(&["small.png", "large.png", "text.jpg", "missing.jpg"])
        .await;
    let response = served.get(&format!("/images/{}/preview", ids[0])).await;
    assert_eq!(response.headers()["content-type"], "image/png");
    for id in &ids[1..] {
        let response = served.get(&format!("/images/{id}/preview")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "image/svg+xml");
    }
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_told() {
    let served = Served::start().await;
    for id in ["1", "0", "-1", "x", "99999999999999999999", "<b>"] {
        for rest in ["", "/picture", "/preview"] {
            let response = served.get(&format!("/images/{id}{rest}")).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{id}{rest}");
            assert!(response.text().await.unwrap().contains("There is no such image"));
        }
    }
}
