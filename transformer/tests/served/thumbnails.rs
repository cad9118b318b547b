//! Smaller pictures out of pictures.

use std::fs;

use image::{DynamicImage, ImageFormat, RgbImage, Rgba, RgbaImage};
use safelight_proto::transformer::v1::{Output, Size};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::fixtures::{
    corner_letters, corners, encode, headers, icc_profile, jpeg, with_orientation, with_profile, with_segment,
};
use crate::place::Place;

fn size(role: &str, suffix: &str, width: u32) -> Size {
    Size {
        role: role.to_owned(),
        suffix: suffix.to_owned(),
        width,
    }
}

/// As a picture is copied to.
pub(crate) fn usual() -> Vec<Size> {
    vec![
        size("thumbnail-small", "_t", 120),
        size("thumbnail-medium", "_m", 320),
        size("thumbnail-large", "_l", 1024),
    ]
}

fn png(image: RgbImage) -> Vec<u8> {
    encode(&DynamicImage::ImageRgb8(image), ImageFormat::Png)
}

fn names(outputs: &[Output]) -> Vec<(&str, &str, u32, u32)> {
    outputs
        .iter()
        .map(|output| (&*output.role, &*output.key, output.width, output.height))
        .collect()
}

#[tokio::test]
async fn a_large_picture_gets_each_size_under_its_name() {
    let place = Place::new().await;
    let photograph = place.picture("cat.jpg", &jpeg(&corners(1600, 1200)));
    let outputs = place.thumbnails(&photograph).await.unwrap();
    assert_eq!(
        names(&outputs),
        [
            ("thumbnail-small", "output/1/cat_t.jpg", 120, 90),
            ("thumbnail-medium", "output/1/cat_m.jpg", 320, 240),
            ("thumbnail-large", "output/1/cat_l.jpg", 1024, 768),
        ]
    );
    for output in &outputs {
        assert_eq!(output.content_type, "image/jpeg");
        assert_eq!(corner_letters(&place.shown(output)), "rg/bw");
    }
}

#[tokio::test]
async fn what_came_without_loss_becomes_png() {
    let place = Place::new().await;
    let image = DynamicImage::ImageRgb8(corners(200, 100));
    for format in [
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let name = format!("{format:?}");
        let uri = place.picture(&name, &encode(&image, format));
        let output = format!("output/{name}/cat");
        let outputs = place.ask(&uri, &output, usual()).await.unwrap();
        let key = format!("{output}_t.png");
        assert_eq!(names(&outputs), [("thumbnail-small", &*key, 120, 60)]);
        assert_eq!(outputs[0].content_type, "image/png");
        assert_eq!(corner_letters(&place.shown(&outputs[0])), "rg/bw", "{name}");
    }
}

#[tokio::test]
async fn what_shows_through_a_picture_shows_through_its_thumbnails() {
    let place = Place::new().await;
    // A white disc, and around it black that nobody is to see.
    let disc = RgbaImage::from_fn(400, 400, |x, y| {
        if x.abs_diff(200).pow(2) + y.abs_diff(200).pow(2) < 150 * 150 {
            Rgba([255; 4])
        } else {
            Rgba([0; 4])
        }
    });
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Gif] {
        let bytes = encode(&DynamicImage::ImageRgba8(disc.clone()), format);
        let uri = place.picture("disc", &bytes);
        let outputs = place
            .ask(&uri, &format!("output/{format:?}/disc"), usual())
            .await
            .unwrap();
        assert_eq!(outputs.len(), 2);
        for output in &outputs {
            let small = image::load_from_memory(&place.stored(output)).unwrap();
            assert!(small.color().has_alpha(), "{format:?}");
            let small = small.into_rgba8();
            let middle = small.width() / 2;
            assert_eq!(small.get_pixel(middle, middle).0, [255; 4]);
            assert_eq!(small.get_pixel(1, 1).0[3], 0);
            let seen = small.pixels().filter(|pixel| pixel.0[3] > 0);
            assert!(
                seen.into_iter().all(|pixel| pixel.0[0] > 200),
                "no dark edge: {format:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_profile_that_unfolds_to_more_than_anybody_needs_is_left_out() {
    let place = Place::new().await;
    let bytes = headers::png_with_profile_of_zeros(1 << 30, 200, 100);
    let uri = place.picture("a.png", &bytes);
    let outputs = place.thumbnails(&uri).await.unwrap();
    assert_eq!(
        names(&outputs),
        [("thumbnail-small", "output/1/cat_t.png", 120, 60)]
    );
    assert!(outputs[0].bytes < 10_000);
}

#[tokio::test]
async fn of_a_moving_picture_the_first_frame_counts_and_the_others_cost_nothing() {
    let place = Place::new().await;
    let frames = headers::gif_of_frames(6_000, 6_000, 2_000);
    // Seventy-two thousand megapixels in all, which take many minutes to decode.
    let uri = place.picture("many.gif", &frames);
    let made = tokio::time::timeout(std::time::Duration::from_secs(60), place.thumbnails(&uri)).await;
    assert_eq!(made.expect("it is bounded").unwrap().len(), 3);
}

#[tokio::test]
async fn no_picture_is_made_larger_than_it_is() {
    let place = Place::new().await;
    for (width, widths) in [
        (1024, &[120, 320, 1024][..]),
        (1023, &[120, 320]),
        (320, &[120, 320]),
        (119, &[119]),
    ] {
        let uri = place.picture("a.png", &png(corners(width, 60)));
        let outputs = place
            .ask(&uri, &format!("output/{width}/a"), usual())
            .await
            .unwrap();
        let made: Vec<u32> = outputs.iter().map(|output| output.width).collect();
        assert_eq!(made, widths);
    }
}

#[tokio::test]
async fn a_turned_photograph_stands_upright() {
    let place = Place::new().await;
    let uri = place.picture("a.jpg", &with_orientation(&jpeg(&corners(480, 320)), 6));
    let probe = place.probe(&uri).await.unwrap();
    assert_eq!(
        (&*probe.content_type, probe.width, probe.height),
        ("image/jpeg", 320, 480)
    );
    let outputs = place.thumbnails(&uri).await.unwrap();
    assert_eq!((outputs[0].width, outputs[0].height), (120, 180));
    assert_eq!(corner_letters(&place.shown(&outputs[0])), "br/wg");
}

#[tokio::test]
async fn nothing_tells_where_somebody_was_and_the_colors_keep_their_profile() {
    let place = Place::new().await;
    let profile = icc_profile(b"RGB ");
    let mut photograph = with_profile(&jpeg(&corners(640, 480)), &profile);
    let secrets: [(u8, &[u8]); 4] = [
        (0xE1, b"Exif\0\0GPSLatitude 52.5200"),
        (
            0xE1,
            b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>52.5200</x:xmpmeta>",
        ),
        (0xED, b"Photoshop 3.0\0City 52.5200"),
        (0xFE, b"comment 52.5200"),
    ];
    for (marker, content) in secrets {
        photograph = with_segment(&photograph, marker, content);
    }
    let contains = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(contains(&photograph, b"52.5200"));
    let uri = place.picture("a.jpg", &photograph);
    let outputs = place.thumbnails(&uri).await.unwrap();
    assert_eq!(outputs.len(), 2);
    for output in &outputs {
        let bytes = place.stored(output);
        for secret in [&b"52.5200"[..], b"Exif", b"xmpmeta", b"Photoshop"] {
            assert!(!contains(&bytes, secret), "{}", String::from_utf8_lossy(secret));
        }
        assert!(contains(&bytes, &profile));
    }
}

#[tokio::test]
async fn what_is_asked_for_twice_is_made_once() {
    let place = Place::new().await;
    let uri = place.picture("cat.png", &png(corners(400, 300)));
    let first = place.thumbnails(&uri).await.unwrap();
    let at = fs::metadata(&first[0].uri).unwrap().modified().unwrap();
    // As when another one was sent under the same name.
    place.picture("cat.png", &png(RgbImage::new(400, 300)));
    let second = place.thumbnails(&uri).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(fs::metadata(&first[0].uri).unwrap().modified().unwrap(), at);
    assert_eq!(corner_letters(&place.shown(&second[0])), "rg/bw");
    let left = fs::read_dir(place.path("store/tmp")).unwrap().count();
    assert_eq!(left, 0, "nothing unfinished lies there");
}

#[tokio::test]
async fn each_bad_picture_is_answered_by_name_and_leaves_nothing() {
    let place = Place::new().await;
    let whole = jpeg(&corners(400, 300));
    for (uri, code, message) in [
        (
            place.path("pictures/none.jpg").to_str().unwrap().to_owned(),
            Code::NotFound,
            "there is no such file",
        ),
        (
            "/etc/passwd".to_owned(),
            Code::InvalidArgument,
            "the path is refused",
        ),
        (
            place.picture("empty.jpg", b""),
            Code::InvalidArgument,
            "the file is empty",
        ),
        (
            place.picture("half.jpg", &whole[..whole.len() / 2]),
            Code::InvalidArgument,
            "cut off",
        ),
        (
            place.picture("text.png", b"no picture\n"),
            Code::InvalidArgument,
            "the file is not a picture",
        ),
        (
            place.picture("a.svg", b"<svg><image href=\"http://127.0.0.1/\"/></svg>"),
            Code::InvalidArgument,
            "the file is not a picture",
        ),
        (
            place.picture("bomb.png", &headers::png_claiming(20_000, 20_000)),
            Code::OutOfRange,
            "400000000 pixels, at most 50000000 are allowed",
        ),
        (
            place.picture("bomb.gif", &headers::gif_claiming(65_535, 32_767)),
            Code::OutOfRange,
            "too large",
        ),
        (
            place.picture("empty.gif", &headers::gif_claiming(6_000, 6_000)),
            Code::InvalidArgument,
            "the picture is damaged",
        ),
        (
            place.picture(
                "entity.svg",
                b"<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><svg>&x;</svg>",
            ),
            Code::InvalidArgument,
            "the file is not a picture",
        ),
    ] {
        let refused = place.thumbnails(&uri).await.unwrap_err();
        assert_eq!(refused.code(), code, "{uri}: {refused}");
        assert!(refused.message().contains(message), "{uri}: {refused}");
        assert!(
            !refused.message().contains(place.path("").to_str().unwrap()),
            "{refused}"
        );
        let probed = place.probe(&uri).await;
        // What is behind the header is seen only when it is decoded.
        assert!(probed.is_err() || uri.ends_with("half.jpg") || uri.ends_with("empty.gif"), "{uri}");
    }
    assert!(!place.path("store/output").exists());
}

#[tokio::test]
async fn a_request_that_leads_out_of_the_store_is_refused() {
    let place = Place::new().await;
    let uri = place.picture("cat.png", &png(corners(400, 300)));
    for output in [
        "",
        "/output/1/cat",
        "../cat",
        "output/../../cat",
        "output/1/c\0t",
        "tmp/cat",
        "output/1/.c",
    ] {
        let refused = place.ask(&uri, output, usual()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{output:?}");
    }
    let wrong = [
        vec![],
        vec![size("small", "_t/../x", 10)],
        vec![size("small", "_t", 0)],
    ];
    for sizes in wrong {
        let refused = place.ask(&uri, "output/1/cat", sizes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("sizes: "), "{refused}");
    }
    assert!(!place.path("store").join("output").exists());
}

#[tokio::test]
async fn a_store_that_fails_is_no_fault_of_the_picture() {
    let place = Place::new().await;
    let uri = place.picture("cat.png", &png(corners(400, 300)));
    fs::create_dir_all(place.path("store/output")).unwrap();
    let in_the_way = place.path("store/output/1");
    fs::write(&in_the_way, b"a file where the folder should be").unwrap();
    let refused = place.thumbnails(&uri).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "{refused}");
    fs::remove_file(in_the_way).unwrap();
    assert_eq!(place.thumbnails(&uri).await.unwrap().len(), 2);
}

#[tokio::test]
async fn while_the_store_is_away_health_says_so_and_callers_are_told_to_come_again() {
    let place = Place::new().await;
    let uri = place.picture("cat.png", &png(corners(400, 300)));
    place.until_health_is(ServingStatus::Serving).await;
    // The transformer may make its folder just now, to see whether it can.
    while fs::write(place.path("store"), b"a file where the folder should be").is_err() {
        let _ = fs::remove_dir_all(place.path("store"));
    }
    let refused = place.thumbnails(&uri).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    place.until_health_is(ServingStatus::NotServing).await;
    fs::remove_file(place.path("store")).unwrap();
    place.until_health_is(ServingStatus::Serving).await;
    assert_eq!(place.thumbnails(&uri).await.unwrap().len(), 2);
}
