//! JPEGs at a half, a quarter or an eighth of their size, for smaller pictures that are made of them.
//!
//! Of each block only the lower frequencies are turned into pixels, which saves most of the time that a picture takes. What
//! is read is what cameras write: sequential, Huffman-coded, one or three components in one scan (`header`, `huffman`,
//! `scan`). Anything else, and any doubt, is left to the decoder of whole pictures, which also says what is wrong
//! with a picture.
//!
//! It is our own because the libraries in Rust that scale do not say when a picture lacks bytes: `jpeg-decoder` 0.3 fills the
//! rest with grey and calls it done. `zune-jpeg`, which decodes whole pictures here, does not scale.

mod header;
mod huffman;
mod scan;

use image::{DynamicImage, GrayImage, RgbImage};

use self::header::Header;
use self::scan::Plane;

/// How many eighths of its size a picture is decoded at, so that one `wanted` pixels wide can be made of it: 1, 2, 4 or 8.
///
/// It stays at least 1.75 times as wide. Cutting frequencies off at the edge of a block is a coarse filter; the rest
/// is left to a good one.
pub(crate) fn eighths(width: u32, wanted: u32) -> u32 {
    let least = u64::from(wanted) * 7 / 4;
    let is_enough = |eighths: &u32| u64::from(width) * u64::from(*eighths) / 8 >= least;
    [1, 2, 4].into_iter().find(is_enough).unwrap_or(8)
}

/// Whether colors are needed that are as fine as the rest: at half of that there would be fewer than `wanted`.
pub(crate) fn is_fine(width: u32, wanted: u32, eighths: u32) -> bool {
    u64::from(width) * u64::from(eighths) / 16 < u64::from(wanted)
}

/// Decodes a JPEG of this size at 1, 2 or 4 eighths of it, colors that are coarser at no less than they are where it is to be
/// `fine`; `None` where that cannot be done, or where it may be damaged. `data` goes to its end marker.
pub(crate) fn decode(data: &[u8], size: (u32, u32), eighths: u32, fine: bool) -> Option<DynamicImage> {
    let header = Header::read(data)?;
    if (u32::from(header.width), u32::from(header.height)) != size {
        return None;
    }
    let planes = scan::read(&header, eighths as usize, fine)?;
    let (width, height) = (
        (size.0 * eighths).div_ceil(8) as usize,
        (size.1 * eighths).div_ceil(8) as usize,
    );
    match &planes[..] {
        [grey] => grey_image(grey, width, height),
        [luma, blue, red] => color_image(luma, blue, red, width, height),
        _ => None,
    }
}

fn grey_image(grey: &Plane, width: usize, height: usize) -> Option<DynamicImage> {
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        pixels.extend_from_slice(grey.row(y).get(..width)?);
    }
    GrayImage::from_raw(width as u32, height as u32, pixels).map(DynamicImage::ImageLuma8)
}

fn color_image(luma: &Plane, blue: &Plane, red: &Plane, width: usize, height: usize) -> Option<DynamicImage> {
    let mut pixels = vec![0; 3 * width * height];
    // Both are as fine as each other in what is written; where they are not it is no matter of speed.
    let shift = blue.shift.0;
    if red.shift.0 != shift {
        return None;
    }
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        let luma = luma.row(y).get(..width)?;
        let blue = blue.row(y).get(..=(width - 1) >> shift)?;
        let red = red.row(y).get(..=(width - 1) >> shift)?;
        for (x, (pixel, luma)) in row.chunks_exact_mut(3).zip(luma).enumerate() {
            let color = to_rgb(*luma, blue[x >> shift], red[x >> shift]);
            pixel.copy_from_slice(&color);
        }
    }
    RgbImage::from_raw(width as u32, height as u32, pixels).map(DynamicImage::ImageRgb8)
}

/// As JFIF has it (ITU-T T.871, 7), in 16 bits behind the point.
fn to_rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    const HALF: i32 = 1 << 15;
    let luma = (i32::from(luma) << 16) + HALF;
    let (blue, red) = (i32::from(blue) - 128, i32::from(red) - 128);
    let clamped = |value: i32| (value >> 16).clamp(0, 255) as u8;
    [
        clamped(luma + 91_881 * red),
        clamped(luma - 22_554 * blue - 46_802 * red),
        clamped(luma + 116_130 * blue),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_decoded_no_smaller_than_nearly_twice_what_is_made_of_it() {
        for (width, wanted, expected) in [
            (4000, 320, 2),
            (2280, 320, 2),
            (2000, 320, 4),
            (4032, 1024, 4),
            (3000, 1024, 8),
            (4480, 320, 1),
            (4479, 320, 2),
            (320, 320, 8),
            (65_535, 1, 1),
            (1, 1, 8),
        ] {
            assert_eq!(eighths(width, wanted), expected, "{width} to {wanted}");
        }
    }
}
