use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// The size that faces are searched at, by the picture's longest side in pixels.
///
/// The detector finds faces from about 80 pixels up, and its time grows with the area. So a picture that is
/// shorter than `shortest` is scaled up to it, at most twice over, and one longer than `longest` down to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkingSize {
    pub(crate) shortest: u32,
    pub(crate) longest: u32,
}

/// More than this shows the detector blocks instead of faces.
const LARGEST_ENLARGEMENT: f64 = 2.0;

// === impl WorkingSize ===

impl WorkingSize {
    /// What to multiply width and height by. Exactly 1 where nothing is to be done.
    pub(crate) fn scale(self, width: u32, height: u32) -> f64 {
        let side = f64::from(width.max(height).max(1));
        if side > f64::from(self.longest) {
            f64::from(self.longest) / side
        } else if side < f64::from(self.shortest) {
            (f64::from(self.shortest) / side).min(LARGEST_ENLARGEMENT)
        } else {
            1.0
        }
    }
}

/// A length in pixels, scaled and rounded; at least one pixel.
pub(crate) fn scaled(length: u32, scale: f64) -> u32 {
    // `as` saturates, and lengths are far below u32::MAX.
    ((f64::from(length) * scale).round() as u32).max(1)
}

/// Scales a part of a picture, given as left, top, width and height within it, to another size.
pub(crate) fn resize(
    resizer: &mut Resizer,
    image: &RgbImage,
    part: (u32, u32, u32, u32),
    width: u32,
    height: u32,
) -> RgbImage {
    let mut scaled = RgbImage::new(width, height);
    let (left, top, part_width, part_height) = part;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(left.into(), top.into(), part_width.into(), part_height.into());
    // Typed, as the code for the pixel types that there are else takes minutes to compile.
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw());
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut scaled);
    let done = match (source, target) {
        (Ok(source), Ok(mut target)) => resizer.resize_typed(&source, &mut target, &options).is_ok(),
        _ => false,
    };
    debug_assert!(done, "the part lies within the picture");
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: WorkingSize = WorkingSize {
        shortest: 800,
        longest: 1280,
    };

    #[test]
    fn large_pictures_are_scaled_down_and_small_ones_up() {
        assert_eq!(SIZE.scale(4000, 3000), 0.32);
        assert_eq!(SIZE.scale(3000, 4000), 0.32);
        assert_eq!(SIZE.scale(640, 300), 1.25);
        assert_eq!(SIZE.scale(800, 300), 1.0);
        assert_eq!(SIZE.scale(1280, 1280), 1.0);
    }

    #[test]
    fn a_tiny_picture_is_not_blown_up() {
        assert_eq!(SIZE.scale(40, 30), 2.0);
        assert_eq!(scaled(1, 0.01), 1);
    }

    #[test]
    fn a_part_is_scaled_by_itself() {
        let image = RgbImage::from_fn(40, 40, |x, _| {
            image::Rgb(if x < 20 { [0, 0, 0] } else { [200, 0, 0] })
        });
        let right = resize(&mut Resizer::new(), &image, (25, 0, 15, 40), 30, 80);
        assert_eq!(right.dimensions(), (30, 80));
        assert!(right.pixels().all(|pixel| pixel.0 == [200, 0, 0]));
    }
}
