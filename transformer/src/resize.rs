use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, RgbImage, RgbaImage};

/// Scales a picture of 8 bits a channel to a size, by Lanczos over three lobes.
///
/// Colors count for as much as they are opaque: what an encoder left under transparent pixels is not seen at their edges.
pub(crate) fn to_size(image: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (width, height) == (image.width(), image.height()) {
        return image.clone();
    }
    match image {
        DynamicImage::ImageRgba8(image) => {
            let mut scaled = RgbaImage::new(width, height);
            scale::<U8x4>(image, image.dimensions(), &mut scaled, (width, height));
            DynamicImage::ImageRgba8(scaled)
        }
        DynamicImage::ImageRgb8(image) => {
            let mut scaled = RgbImage::new(width, height);
            scale::<U8x3>(image, image.dimensions(), &mut scaled, (width, height));
            DynamicImage::ImageRgb8(scaled)
        }
        image => to_size(&DynamicImage::ImageRgb8(image.to_rgb8()), width, height),
    }
}

/// Typed, as the code for the pixel types that there are else takes minutes to compile.
fn scale<P: PixelTrait>(from: &[u8], from_size: (u32, u32), to: &mut [u8], to_size: (u32, u32)) {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    let source = TypedImageRef::<P>::from_buffer(from_size.0, from_size.1, from);
    let target = TypedImage::<P>::from_buffer(to_size.0, to_size.1, to);
    let done = match (source, target) {
        (Ok(source), Ok(mut target)) => Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .is_ok(),
        _ => false,
    };
    debug_assert!(done, "both pictures are as large as they say");
}

#[cfg(test)]
mod tests {
    use image::{GenericImageView, Rgb, Rgba};

    use super::*;

    #[test]
    fn colors_stay_what_they_are() {
        let image = DynamicImage::ImageRgb8(RgbImage::from_pixel(400, 300, Rgb([200, 100, 50])));
        let scaled = to_size(&image, 90, 68);
        assert_eq!(scaled.dimensions(), (90, 68));
        assert!(
            scaled
                .pixels()
                .all(|(_, _, pixel)| pixel.0 == [200, 100, 50, 255])
        );
    }

    #[test]
    fn no_fringe_is_seen_where_a_picture_becomes_transparent() {
        // White on the left, and on the right black that nobody is to see.
        let half = RgbaImage::from_fn(400, 100, |x, _| {
            if x < 205 {
                Rgba([255; 4])
            } else {
                Rgba([0, 0, 0, 0])
            }
        });
        let scaled = to_size(&DynamicImage::ImageRgba8(half), 40, 10).into_rgba8();
        let alphas: Vec<u8> = (0..40).map(|x| scaled.get_pixel(x, 5).0[3]).collect();
        assert_eq!((alphas[0], alphas[39]), (255, 0));
        assert!(alphas.iter().any(|alpha| (1..255).contains(alpha)), "{alphas:?}");
        for pixel in scaled.pixels().filter(|pixel| pixel.0[3] > 0) {
            assert!(pixel.0[..3].iter().all(|color| *color > 200), "{pixel:?}");
        }
    }
}
