//! Photographs made out of the samples.

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, RgbImage};

use super::fixtures::dc_jpeg::{self, Colors};
use super::fixtures::{encode, jpeg, with_orientation};

/// Where obama's face and some of what is around it lie in `obama.jpg`: a square.
const HEAD: (u32, u32, u32) = (295, 65, 400);

pub(crate) fn photograph(name: &str) -> RgbImage {
    image::open(super::sample(name)).unwrap().to_rgb8()
}

pub(crate) fn scaled(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    imageops::resize(image, width, height, FilterType::Triangle)
}

/// Obama's head, `side` pixels wide and high; the face is about two thirds of it.
pub(crate) fn head(side: u32) -> RgbImage {
    let (left, top, size) = HEAD;
    scaled(
        &imageops::crop_imm(&photograph("obama.jpg"), left, top, size, size).to_image(),
        side,
        side,
    )
}

/// Five columns and four rows of the same head.
pub(crate) fn twenty_heads() -> RgbImage {
    let head = head(240);
    RgbImage::from_fn(5 * 240, 4 * 240, |x, y| *head.get_pixel(x % 240, y % 240))
}

/// A JPEG that lies on its side and says so.
pub(crate) fn turned(image: &RgbImage) -> Vec<u8> {
    // Orientation 6: to be turned by a right angle clockwise to be upright.
    with_orientation(&jpeg(&imageops::rotate270(image)), 6)
}

pub(crate) fn grey(image: &RgbImage) -> Vec<u8> {
    encode(
        &DynamicImage::ImageLuma8(imageops::grayscale(image)),
        ImageFormat::Jpeg,
    )
}

/// A JPEG of four inks, a block of 8 by 8 for every pixel.
pub(crate) fn cmyk(image: &RgbImage) -> Vec<u8> {
    let (columns, rows) = (image.width() as u16, image.height() as u16);
    dc_jpeg::encode(columns, rows, Colors::Cmyk, false, |column, row| {
        let [red, green, blue] = image.get_pixel(column.into(), row.into()).0;
        [red, green, blue, 255]
    })
}

/// A PNG whose left edge is transparent.
pub(crate) fn with_alpha(image: &RgbImage) -> Vec<u8> {
    let mut image = DynamicImage::ImageRgb8(image.clone()).into_rgba8();
    for (x, _, pixel) in image.enumerate_pixels_mut() {
        pixel.0[3] = if x < 10 { 0 } else { 255 };
    }
    encode(&DynamicImage::ImageRgba8(image), ImageFormat::Png)
}

pub(crate) fn sixteen_bit(image: &RgbImage) -> Vec<u8> {
    encode(
        &DynamicImage::ImageRgb16(DynamicImage::ImageRgb8(image.clone()).into_rgb16()),
        ImageFormat::Png,
    )
}

/// A landscape without anybody in it.
pub(crate) fn nobody(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = ((x / 17 + y / 23) % 7) as u8 * 9;
        image::Rgb(if y < height / 2 {
            [90, 140 + wave, 220]
        } else {
            [60, 110 + wave, 40]
        })
    })
}
