//! Damaged, cut-off and lying files: each has its answer, and none takes memory.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::dc_jpeg::{self, Colors};
use fixtures::{corners, encode, headers, jpeg};
use image::{DynamicImage, ImageFormat};
use safelight_media::{Library, MediaArgs, MediaError};

fn library() -> Library {
    Library::new(&MediaArgs::with_roots(["/nowhere".into()])).unwrap()
}

fn refusal(bytes: &[u8]) -> MediaError {
    library().decode_bytes(bytes).expect_err("this is no picture")
}

#[test]
fn no_beginning_of_a_jpeg_is_a_picture() {
    let progressive = dc_jpeg::encode(8, 8, Colors::Grey, true, |x, y| [(x * 29 + y * 31) as u8; 4]);
    for whole in [jpeg(&corners(70, 50)), progressive] {
        assert!(library().decode_bytes(&whole).is_ok());
        for cut in 3..whole.len() {
            let error = refusal(&whole[..cut]);
            assert!(
                matches!(error, MediaError::Corrupt(_)),
                "cut at {cut} of {}: {error:?}",
                whole.len()
            );
        }
    }
}

#[test]
fn a_jpeg_that_lacks_bytes_in_its_middle_is_damaged() {
    let whole = jpeg(&corners(200, 150));
    let mut bytes = whole[..whole.len() / 2].to_vec();
    bytes.extend(&whole[whole.len() / 2 + 2000..]);
    let error = refusal(&bytes);
    assert!(matches!(error, MediaError::Corrupt(_)), "{error:?}");
}

#[test]
fn a_jpeg_whose_rest_was_never_written_is_damaged() {
    // Copied with the size set first: the rest is zeros, and the end is missing.
    let mut bytes = jpeg(&corners(200, 150));
    let half = bytes.len() / 2;
    bytes[half..].fill(0);
    assert!(matches!(refusal(&bytes), MediaError::Corrupt(_)));
}

#[test]
fn what_comes_behind_the_end_of_a_jpeg_does_not_matter() {
    let mut bytes = jpeg(&corners(70, 50));
    bytes.extend([0; 1000]);
    assert!(library().decode_bytes(&bytes).is_ok());
}

#[test]
fn half_a_file_of_any_format_is_damaged() {
    let image = DynamicImage::ImageRgb8(corners(120, 90));
    for format in [
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let whole = encode(&image, format);
        for part in [2, 3, 4, 5, 6] {
            let error = refusal(&whole[..whole.len() * part / 8]);
            assert!(
                matches!(error, MediaError::Corrupt(_)),
                "{format:?}, {part}/8: {error:?}"
            );
        }
    }
}

#[test]
fn a_text_is_not_a_picture() {
    for bytes in [
        "hello, world\n",
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
        "\u{feff}x",
        "B",
        "\u{ff}\u{d8}",
    ] {
        assert!(
            matches!(refusal(bytes.as_bytes()), MediaError::NotAPicture),
            "{bytes:?}"
        );
    }
}

#[test]
fn nothing_is_empty() {
    assert!(matches!(refusal(b""), MediaError::Empty));
}

#[test]
fn headers_that_claim_too_much_are_refused_before_anything_is_decoded() {
    for bytes in [
        headers::png_claiming(60_000, 60_000),
        headers::png_claiming(8_000, 8_000),
        headers::gif_claiming(65_535, 32_767),
        headers::jpeg_claiming(65_535, 65_535),
        headers::bmp_claiming(60_000, 60_000),
    ] {
        let before = resident_bytes();
        let error = library().sketch(&bytes).err().expect("it is too large");
        assert!(matches!(error, MediaError::TooLarge { .. }), "{error:?}");
        assert!(resident_bytes().saturating_sub(before) < 16 << 20);
    }
}

#[test]
fn the_refusal_says_what_was_too_large_and_which_setting_it_is() {
    let error = refusal(&headers::png_claiming(60_000, 60_000));
    assert_eq!(
        error.to_string(),
        "the picture is too large: 60000 pixels on one side, at most 20000 are allowed (MEDIA_MAX_SIDE)"
    );
    let error = refusal(&headers::png_claiming(8_000, 8_000));
    assert_eq!(
        error.to_string(),
        "the picture is too large: 64000000 pixels, at most 50000000 are allowed (MEDIA_MAX_PIXELS)"
    );
}

#[test]
fn a_claim_within_the_limits_without_the_pixels_is_damaged() {
    for bytes in [
        headers::png_claiming(6_000, 6_000),
        headers::gif_claiming(6_000, 6_000),
        headers::jpeg_claiming(6_000, 6_000),
        headers::bmp_claiming(6_000, 6_000),
    ] {
        assert!(matches!(refusal(&bytes), MediaError::Corrupt(_)));
    }
}

#[test]
fn a_picture_without_pixels_is_damaged() {
    for bytes in [
        headers::png_claiming(0, 10),
        headers::gif_claiming(0, 0),
        headers::jpeg_claiming(0, 10),
    ] {
        let error = refusal(&bytes);
        assert!(matches!(error, MediaError::Corrupt(_)), "{error:?}");
    }
}

#[test]
fn flipped_bytes_never_panic_and_never_hang() {
    let image = DynamicImage::ImageRgb8(corners(60, 40));
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Gif,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let whole = encode(&image, format);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            // Whether it is still a picture is not the question.
            match library().decode_bytes(&bytes) {
                Ok(picture) => assert!(picture.width() <= 20_000),
                Err(error) => assert!(!error.is_retryable(), "{error:?}"),
            }
        }
    }
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}
