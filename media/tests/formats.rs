//! Whatever goes in, upright 8-bit RGB comes out.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::dc_jpeg::{self, Colors};
use fixtures::{corner_letters, corners, encode, headers, icc_profile, jpeg, with_orientation, with_profile};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, Rgba, RgbaImage};
use safelight_media::{Library, MediaArgs, MediaError, Picture};

fn decode(bytes: &[u8]) -> Picture {
    library().decode_bytes(bytes).unwrap()
}

fn library() -> Library {
    Library::new(&MediaArgs::with_roots(["/nowhere".into()])).unwrap()
}

#[test]
fn every_lossless_format_gives_the_pixels_it_was_made_of() {
    let image = corners(40, 30);
    for format in [
        ImageFormat::Png,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Tiff,
    ] {
        let bytes = encode(&DynamicImage::ImageRgb8(image.clone()), format);
        assert_eq!(decode(&bytes).image, image, "{format:?}");
    }
}

#[test]
fn lossy_formats_give_the_picture() {
    let image = corners(40, 30);
    for bytes in [
        jpeg(&image),
        encode(&DynamicImage::ImageRgb8(image.clone()), ImageFormat::Gif),
    ] {
        let picture = decode(&bytes);
        assert_eq!((picture.width(), picture.height()), (40, 30));
        assert_eq!(corner_letters(&picture.image), "rg/bw");
    }
}

#[test]
fn no_whole_jpeg_is_taken_for_a_damaged_one() {
    // Flat ones end in the fewest bits, and odd sizes in blocks that are partly outside.
    for side in 1..40 {
        for color in [0, 128, 255] {
            let flat = image::RgbImage::from_pixel(side, 41 - side, Rgb([color; 3]));
            assert_eq!(decode(&jpeg(&flat)).image.dimensions(), (side, 41 - side));
            let grey = dc_jpeg::encode(side as u16, 2, Colors::Grey, false, |_, _| [color; 4]);
            assert_eq!(decode(&grey).width(), 8 * side);
        }
        assert_eq!(decode(&jpeg(&corners(side, side))).width(), side);
    }
}

#[test]
fn all_eight_orientations_are_set_upright() {
    let upright = jpeg(&corners(48, 32));
    // What the camera stored, and what a person should see of it.
    for (orientation, letters) in [
        (1, "rg/bw"),
        (2, "gr/wb"),
        (3, "wb/gr"),
        (4, "bw/rg"),
        (5, "rb/gw"),
        (6, "br/wg"),
        (7, "wg/br"),
        (8, "gw/rb"),
    ] {
        let bytes = with_orientation(&upright, orientation);
        let size = if orientation < 5 { (48, 32) } else { (32, 48) };
        let sketch = library();
        let sketch = sketch.sketch(&bytes).unwrap();
        assert_eq!(
            (sketch.width(), sketch.height()),
            size,
            "orientation {orientation}"
        );
        let picture = sketch.decode().unwrap();
        assert_eq!(
            (picture.width(), picture.height()),
            size,
            "orientation {orientation}"
        );
        assert_eq!(
            corner_letters(&picture.image),
            letters,
            "orientation {orientation}"
        );
    }
}

#[test]
fn an_orientation_that_does_not_exist_is_ignored() {
    let bytes = with_orientation(&jpeg(&corners(48, 32)), 9);
    assert_eq!(corner_letters(&decode(&bytes).image), "rg/bw");
}

#[test]
fn grey_becomes_equal_red_green_and_blue() {
    let grey = ImageBuffer::from_pixel(16, 16, Luma([90_u8]));
    let png = encode(&DynamicImage::ImageLuma8(grey), ImageFormat::Png);
    let jpeg = dc_jpeg::encode(2, 2, Colors::Grey, false, |_, _| [90; 4]);
    for bytes in [png, jpeg] {
        let picture = decode(&bytes);
        assert_eq!(picture.image.dimensions(), (16, 16));
        assert!(picture.image.pixels().all(|pixel| pixel.0 == [90; 3]));
    }
}

#[test]
fn four_inks_become_three_lights() {
    // Inverted inks, as the Adobe marker says: 255 is no ink. The upper half takes red ink's complement away.
    let bytes = dc_jpeg::encode(4, 4, Colors::Cmyk, false, |_, row| {
        if row < 2 {
            [255, 0, 0, 255]
        } else {
            [0, 255, 0, 255]
        }
    });
    let image = decode(&bytes).image;
    assert_eq!(image.dimensions(), (32, 32));
    assert_eq!(corner_letters(&image), "rr/gg");
}

#[test]
fn a_progressive_jpeg_is_decoded() {
    let bytes = dc_jpeg::encode(4, 4, Colors::Grey, true, |column, _| {
        [if column < 2 { 10 } else { 240 }; 4]
    });
    let image = decode(&bytes).image;
    assert_eq!(image.get_pixel(4, 16).0, [10; 3]);
    assert_eq!(image.get_pixel(28, 16).0, [240; 3]);
}

#[test]
fn sixteen_bits_become_eight() {
    let image = ImageBuffer::from_pixel(5, 4, Rgb([0x1234_u16, 0x8080, 0xFFFF]));
    let bytes = encode(&DynamicImage::ImageRgb16(image), ImageFormat::Png);
    assert_eq!(decode(&bytes).image.get_pixel(4, 3).0, [0x12, 0x80, 0xFF]);
}

#[test]
fn transparency_shows_white() {
    let image = RgbaImage::from_fn(3, 1, |x, _| match x {
        0 => Rgba([10, 20, 30, 255]),
        1 => Rgba([0, 0, 0, 0]),
        _ => Rgba([0, 255, 0, 51]),
    });
    let sixteen = DynamicImage::ImageRgba8(image.clone()).into_rgba16();
    for image in [
        DynamicImage::ImageRgba8(image),
        DynamicImage::ImageRgba16(sixteen),
    ] {
        let picture = decode(&encode(&image, ImageFormat::Png));
        let pixels: Vec<[u8; 3]> = picture.image.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[10, 20, 30], [255, 255, 255], [204, 255, 204]]);
    }
}

#[test]
fn a_palette_becomes_its_colors() {
    let image = decode(&headers::palette_bmp([250, 0, 0], [0, 0, 250])).image;
    assert_eq!(corner_letters(&image), "rr/bb");
}

#[test]
fn other_formats_are_named_as_unsupported() {
    for bytes in [
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1".as_slice(),
        b"\0\0\0\x18ftypavif\0\0\0\0avifmif1",
        b"qoif\0\0\0\x10\0\0\0\x10\x03\0",
    ] {
        let error = library().decode_bytes(bytes).unwrap_err();
        assert!(matches!(error, MediaError::Unsupported(_)), "{error:?}");
        assert!(error.to_string().contains("send a JPEG"), "{error}");
    }
}

#[test]
fn the_profile_of_a_pictures_colors_is_handed_on() {
    let profile = icc_profile(b"RGB ");
    let photograph = with_profile(&jpeg(&corners(40, 30)), &profile);
    assert_eq!(decode(&photograph).profile.as_deref(), Some(&profile[..]));

    let mut png = Vec::new();
    let mut encoder = image::codecs::png::PngEncoder::new(&mut png);
    image::ImageEncoder::set_icc_profile(&mut encoder, profile.clone()).unwrap();
    corners(40, 30).write_with_encoder(encoder).unwrap();
    assert_eq!(decode(&png).profile, Some(profile));
}

#[test]
fn a_profile_of_other_colors_than_red_green_and_blue_is_not() {
    for color_space in [b"GRAY", b"CMYK", b"Lab "] {
        let photograph = with_profile(&jpeg(&corners(40, 30)), &icc_profile(color_space));
        assert_eq!(decode(&photograph).profile, None);
    }
    let nonsense = with_profile(&jpeg(&corners(40, 30)), b"RGB RGB RGB RGB RGB RGB RGB");
    assert_eq!(decode(&nonsense).profile, None);
    assert_eq!(decode(&jpeg(&corners(40, 30))).profile, None);
}
