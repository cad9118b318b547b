//! Who is in a picture, over gRPC, whatever the picture is like.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use safelight_proto::recognizer::v1::{Box, Face, Point};
use support::fixtures::jpeg;
use support::photographs::{self, photograph, scaled};
use support::{Place, require_models};

#[tokio::test]
async fn a_known_person_is_found_in_other_photographs_and_nobody_else_is() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    for photograph in ["obama.jpg", "obama2.jpg", "obama3.jpg"] {
        assert_eq!(
            server.identify(&place.sample(photograph)).await.unwrap(),
            "obama_1.jpg",
            "{photograph}"
        );
    }
    assert_eq!(
        server.identify(&place.sample("biden.jpg")).await.unwrap(),
        "not_found"
    );
    let found = server.recognize(&place.sample("biden.jpg")).await.unwrap();
    assert_eq!(found.faces.len(), 1);
    assert_eq!(found.faces[0].r#match, None);
}

#[tokio::test]
async fn half_a_face_at_the_edge_is_found() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    for name in ["obama_partial_face.jpg", "obama_partial_face2.jpg"] {
        // As it is, and so large that the face is cut out of it to be described.
        let (width, height) = photograph(name).dimensions();
        let large = jpeg(&scaled(&photograph(name), 3 * width, 3 * height));
        for uri in [place.sample(name), place.picture("large.jpg", &large)] {
            let found = server.recognize(&uri).await.unwrap();
            let [face] = found.faces.as_slice() else {
                panic!("{uri}: {} faces", found.faces.len())
            };
            let bounds = bounds(face);
            assert!(
                bounds.left >= 0 && bounds.left as u32 + bounds.width <= found.width,
                "{bounds:?}"
            );
            assert_eq!(face.r#match.as_ref().unwrap().person_name, "obama", "{uri}");
        }
    }
}

#[tokio::test]
async fn the_answer_tells_everything_about_a_face() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let found = server.recognize(&place.sample("obama2.jpg")).await.unwrap();
    assert_eq!((found.width, found.height), (626, 1200));
    assert_eq!(
        (found.model_name.as_str(), found.model_version.as_str()),
        ("dlib-resnet", "1")
    );
    let [face] = found.faces.as_slice() else {
        panic!("{} faces", found.faces.len())
    };
    assert_eq!(face.descriptor.len(), 128);
    let nearest = face.r#match.as_ref().unwrap();
    assert_eq!(
        (nearest.person_name.as_str(), nearest.image_name.as_str()),
        ("obama", "obama_1.jpg")
    );
    assert!(
        nearest.distance > 0.1 && nearest.distance < 0.6,
        "{}",
        nearest.distance
    );
    let Box {
        left,
        top,
        width,
        height,
    } = bounds(face);
    let is_inside = |point: &Point| {
        (left..left + width as i32).contains(&point.x) && (top..top + height as i32).contains(&point.y)
    };
    assert_eq!(face.landmarks.len(), 5);
    assert!(face.landmarks.iter().all(is_inside), "{:?}", face.landmarks);
}

#[tokio::test]
async fn boxes_and_landmarks_are_given_in_the_pictures_own_pixels() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let original = photograph("obama.jpg");
    let (width, height) = original.dimensions();
    let as_it_is = server.recognize(&place.sample("obama.jpg")).await.unwrap();
    // Up to 12 megapixels and more, down to where it is scaled up to be searched.
    for (name, factor) in [("large.jpg", 4.0), ("small.jpg", 0.4)] {
        let scale = |length: u32| (f64::from(length) * factor).round() as u32;
        let picture = scaled(&original, scale(width), scale(height));
        let uri = place.picture(name, &jpeg(&picture));
        let found = server.recognize(&uri).await.unwrap();
        assert_eq!((found.width, found.height), picture.dimensions());
        let (there, here) = (&as_it_is.faces[0], &found.faces[0]);
        // The detector looks in steps, so the box may jump by one; landmarks are finer.
        let step = 0.2 * f64::from(bounds(there).width);
        let near =
            |one: i32, other: i32, most: f64| (f64::from(one) / factor - f64::from(other)).abs() <= most;
        assert!(
            near(bounds(here).left, bounds(there).left, step),
            "{name}: {:?}",
            bounds(here)
        );
        assert!(
            near(bounds(here).top, bounds(there).top, step),
            "{name}: {:?}",
            bounds(here)
        );
        for (one, other) in here.landmarks.iter().zip(&there.landmarks) {
            assert!(
                near(one.x, other.x, step / 5.0) && near(one.y, other.y, step / 5.0),
                "{name}: {one:?}"
            );
        }
        assert!(here.r#match.as_ref().unwrap().distance < 0.4, "{name}");
    }
}

#[tokio::test]
async fn twenty_faces_are_found_from_the_largest_to_the_smallest() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let uri = place.picture("twenty.jpg", &jpeg(&photographs::twenty_heads()));
    let found = server.recognize(&uri).await.unwrap();
    assert_eq!(found.faces.len(), 20);
    assert!(
        found
            .faces
            .iter()
            .all(|face| face.r#match.as_ref().unwrap().person_name == "obama")
    );
    let sizes: Vec<u32> = found
        .faces
        .iter()
        .map(|face| bounds(face).width * bounds(face).height)
        .collect();
    assert!(sizes.is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

#[tokio::test]
async fn faces_over_the_limit_are_left_out() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start_with(&["--recognizer-max-faces", "3"], None).await;
    server.serving().await;
    let uri = place.picture("twenty.jpg", &jpeg(&photographs::twenty_heads()));
    assert_eq!(server.recognize(&uri).await.unwrap().faces.len(), 3);
}

#[tokio::test]
async fn a_picture_without_a_face_is_recognized_and_nobody_is_in_it() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    for (name, picture) in [
        ("landscape.jpg", photographs::nobody(800, 600)),
        ("pixel.jpg", photographs::nobody(1, 1)),
        ("wide.jpg", photographs::nobody(20_000, 2)),
        ("high.jpg", photographs::nobody(1, 20_000)),
    ] {
        let uri = place.picture(name, &jpeg(&picture));
        assert_eq!(server.identify(&uri).await.unwrap(), "not_found");
        let found = server.recognize(&uri).await.unwrap();
        assert!(found.faces.is_empty());
        assert_eq!((found.width, found.height), picture.dimensions());
    }
}

#[tokio::test]
async fn a_face_is_known_in_every_form_that_a_picture_has() {
    require_models!();
    let place = Place::knowing_obama();
    let server = place.start().await;
    let head = photographs::head(500);
    let upright = photograph("obama2.jpg");
    for (name, bytes, size) in [
        ("turned.jpg", photographs::turned(&upright), upright.dimensions()),
        ("grey.jpg", photographs::grey(&head), (500, 500)),
        (
            "cmyk.jpg",
            photographs::cmyk(&photographs::head(200)),
            (1600, 1600),
        ),
        ("alpha.png", photographs::with_alpha(&head), (500, 500)),
        ("sixteen.png", photographs::sixteen_bit(&head), (500, 500)),
    ] {
        let uri = place.picture(name, &bytes);
        assert_eq!(server.identify(&uri).await.unwrap(), "obama_1.jpg", "{name}");
        let found = server.recognize(&uri).await.unwrap();
        assert_eq!((found.width, found.height), size, "{name}");
    }
}

fn bounds(face: &Face) -> Box {
    face.r#box.expect("every face has a box")
}
