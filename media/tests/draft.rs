//! Pictures that are decoded to be made smaller: the same as whole ones, as far as one can see, and as strict.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::dc_jpeg::{self, Colors};
use fixtures::{corner_letters, corners, encode, jpeg, with_orientation};
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage, Rgba, RgbaImage};
use safelight_media::{Draft, Library, MediaArgs, MediaError};

/// 91 by 67 pixels, colors at half of that, and a restart marker every two units.
const COARSE_COLORS: &[u8] = include_bytes!("fixtures/coarse_colors.jpg");

fn library() -> Library {
    Library::new(&MediaArgs::with_roots(["/nowhere".into()])).unwrap()
}

fn draft(bytes: &[u8], width: u32) -> Result<Draft, MediaError> {
    library().sketch(bytes)?.draft(width)
}

/// A picture with something in it at every size.
fn landscape(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |length: f32| (((x + 2 * y) as f32 / length).sin() * 60.0 + 128.0) as u8;
        image::Rgb([wave(90.0), wave(31.0), (x * 255 / width) as u8])
    })
}

/// By how much the two differ, of 255, on average.
fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let sum: u64 = one
        .iter()
        .zip(other.iter())
        .map(|(one, other)| u64::from(one.abs_diff(*other)))
        .sum();
    sum as f64 / one.len() as f64
}

#[test]
fn a_jpeg_comes_at_a_part_of_its_size_and_looks_the_same() {
    let photograph = jpeg(&landscape(1003, 750));
    let grey = DynamicImage::ImageRgb8(landscape(1003, 750)).into_luma8();
    let grey = encode(&DynamicImage::ImageLuma8(grey), ImageFormat::Jpeg);
    for (bytes, width, size) in [
        (&photograph[..], 570, (1003, 750)),
        (&photograph, 280, (502, 375)),
        (&photograph, 140, (251, 188)),
        (&photograph, 70, (126, 94)),
        (&grey, 280, (502, 375)),
        (&grey, 70, (126, 94)),
        (COARSE_COLORS, 91, (91, 67)),
        (COARSE_COLORS, 25, (46, 34)),
        (COARSE_COLORS, 12, (23, 17)),
        (COARSE_COLORS, 6, (12, 9)),
    ] {
        let small = draft(bytes, width).unwrap().image.into_rgb8();
        assert_eq!(small.dimensions(), size, "for {width}");
        let whole = library().decode_bytes(bytes).unwrap().image;
        let times = whole.width() / (size.0 - 1);
        // The last pixels stand for more than there is.
        let filled = RgbImage::from_fn(times * size.0, times * size.1, |x, y| {
            *whole.get_pixel(x.min(whole.width() - 1), y.min(whole.height() - 1))
        });
        let expected = image::imageops::resize(&filled, size.0, size.1, FilterType::Triangle);
        let difference = difference(&small, &expected);
        assert!(difference < 6.0, "for {width}: {difference}");
    }
}

#[test]
fn colors_that_are_left_coarse_are_fine_enough_for_what_is_made_of_them() {
    let whole = library().decode_bytes(COARSE_COLORS).unwrap().image;
    for (wanted, size) in [(22, (46, 34)), (11, (23, 17))] {
        let small = draft(COARSE_COLORS, wanted).unwrap().image.into_rgb8();
        assert_eq!(small.dimensions(), size);
        let made = |of: &RgbImage| image::imageops::resize(of, wanted, wanted, FilterType::Triangle);
        let difference = difference(&made(&small), &made(&whole));
        assert!(difference < 6.0, "for {wanted}: {difference}");
    }
}

#[test]
fn a_turned_jpeg_is_as_wide_as_it_is_shown() {
    let bytes = with_orientation(&jpeg(&corners(480, 320)), 6);
    let turned = draft(&bytes, 80).unwrap().image.into_rgb8();
    assert_eq!(turned.dimensions(), (160, 240));
    assert_eq!(corner_letters(&turned), "br/wg");
}

#[test]
fn what_is_not_of_the_usual_kind_comes_whole() {
    let shade = |x: u16, y: u16| [(x * 29 + y * 31) as u8; 4];
    for (colors, progressive) in [(Colors::Grey, true), (Colors::Cmyk, false), (Colors::Cmyk, true)] {
        let bytes = dc_jpeg::encode(8, 8, colors, progressive, shade);
        let whole = library().decode_bytes(&bytes).unwrap();
        let image = draft(&bytes, 8).unwrap().image.into_rgb8();
        assert_eq!(image, whole.image, "{colors:?} {progressive}");
    }
}

#[test]
fn no_beginning_of_a_jpeg_is_a_draft() {
    for whole in [&jpeg(&corners(70, 50))[..], COARSE_COLORS] {
        assert!(draft(whole, 9).unwrap().image.width() < 70);
        for cut in 3..whole.len() {
            let error = draft(&whole[..cut], 9).expect_err("it is cut off");
            assert!(matches!(error, MediaError::Corrupt(_)), "cut at {cut}: {error:?}");
        }
    }
}

#[test]
fn a_jpeg_that_lacks_bytes_in_its_middle_is_no_draft() {
    let whole = jpeg(&corners(200, 150));
    for bytes in [500, 1000, 2000] {
        for from in (1000..whole.len() - bytes).step_by(500) {
            let lacking = [&whole[..from], &whole[from + bytes..]].concat();
            match draft(&lacking, 20) {
                Err(error) => assert!(matches!(error, MediaError::Corrupt(_)), "{error:?}"),
                Ok(_) => panic!("it lacks {bytes} bytes from {from} on"),
            }
        }
    }
}

#[test]
fn flipped_bytes_never_panic_and_never_hang() {
    let mut seed = 11_u64;
    let mut random = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for whole in [&jpeg(&corners(60, 40))[..], COARSE_COLORS] {
        for _ in 0..3000 {
            let mut bytes = whole.to_vec();
            for _ in 0..=random(4) {
                let at = random(bytes.len());
                bytes[at] = random(256) as u8;
            }
            match draft(&bytes, 8) {
                Ok(draft) => assert!(draft.image.width() <= 20_000),
                // What the decoders say of a panic.
                Err(error) => assert!(!error.to_string().contains("gave up"), "{error:?}"),
            }
        }
    }
}

#[test]
fn what_shows_through_goes_on_doing_so_and_an_unused_channel_is_dropped() {
    let seen = |alpha| RgbaImage::from_pixel(20, 10, Rgba([200, 100, 50, alpha]));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Tiff] {
        let clear = encode(&DynamicImage::ImageRgba8(seen(90)), format);
        let clear = draft(&clear, 20).unwrap().image;
        assert_eq!(clear, DynamicImage::ImageRgba8(seen(90)), "{format:?}");
        let solid = encode(&DynamicImage::ImageRgba8(seen(255)), format);
        let solid = draft(&solid, 20).unwrap().image;
        assert!(matches!(solid, DynamicImage::ImageRgb8(_)), "{format:?}");
    }
    let grey = DynamicImage::ImageLuma8(GrayImage::from_pixel(20, 10, image::Luma([77])));
    let grey = draft(&encode(&grey, ImageFormat::Png), 20).unwrap().image;
    assert_eq!(grey.into_rgb8().get_pixel(3, 3).0, [77; 3]);
}
