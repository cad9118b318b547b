use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Scales a picture to a width, by Lanczos over three lobes. The height follows from it.
pub(crate) fn to_width(image: &RgbImage, width: u32) -> RgbImage {
    if width == image.width() {
        return image.clone();
    }
    let height = height_of(image, width);
    let mut scaled = RgbImage::new(width, height);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    // Typed, as the code for the pixel types that there are else takes minutes to compile.
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw());
    let target = TypedImage::<U8x3>::from_buffer(width, height, &mut scaled);
    let done = match (source, target) {
        (Ok(source), Ok(mut target)) => Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .is_ok(),
        _ => false,
    };
    debug_assert!(done, "both pictures are as large as they say");
    scaled
}

/// At least one pixel: a picture of a line stays one.
fn height_of(image: &RgbImage, width: u32) -> u32 {
    let height = f64::from(image.height()) * f64::from(width) / f64::from(image.width());
    (height.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportions_stay_and_nothing_vanishes() {
        let size = |width, height, to| to_width(&RgbImage::new(width, height), to).dimensions();
        assert_eq!(size(4000, 3000, 320), (320, 240));
        assert_eq!(size(300, 200, 120), (120, 80));
        assert_eq!(size(1000, 3, 120), (120, 1));
        assert_eq!(size(3, 1000, 1), (1, 333));
        assert_eq!(size(120, 80, 120), (120, 80));
    }

    #[test]
    fn colors_stay_what_they_are() {
        let image = RgbImage::from_pixel(400, 300, image::Rgb([200, 100, 50]));
        assert!(
            to_width(&image, 90)
                .pixels()
                .all(|pixel| pixel.0 == [200, 100, 50])
        );
    }
}
