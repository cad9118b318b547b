use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, RgbImage, Rgba, RgbaImage};

/// A decoded picture: upright, 8-bit RGB.
///
/// - Grey, palette, CMYK and 16-bit pictures are converted.
/// - Transparency is composited over white, as a white page shows it. The colors under fully transparent
///   pixels are whatever the encoder left there and mean nothing.
/// - The EXIF orientation has been applied, so width and height are those a person sees.
/// - Color profiles are not applied, and handed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The pixels.
    pub image: RgbImage,
    /// The ICC profile that says what colors they are; sRGB without one.
    pub profile: Option<Vec<u8>>,
}

/// A decoded picture that a smaller one is to be made of: upright, 8 bits a channel, and still transparent where it was.
///
/// Grey, palette, CMYK and 16-bit pictures are converted as for a [`Picture`].
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// `ImageRgba8` where something shows through, else `ImageRgb8`.
    pub image: DynamicImage,
    /// As [`Picture::profile`].
    pub profile: Option<Vec<u8>>,
}

/// A larger ICC profile is not handed on; those of cameras and editors take a few hundred bytes to a few thousand.
const LARGEST_PROFILE: usize = 64 << 10;

// === impl Picture ===

impl Picture {
    pub(crate) fn new(decoded: DynamicImage, orientation: Orientation, profile: Option<Vec<u8>>) -> Self {
        let rgb = if decoded.color().has_alpha() {
            over_white(decoded.into_rgba8())
        } else {
            decoded.into_rgb8()
        };
        let mut upright = DynamicImage::ImageRgb8(rgb);
        upright.apply_orientation(orientation);
        Self {
            image: upright.into_rgb8(),
            profile: profile.filter(|profile| is_of_rgb(profile)),
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.image.height()
    }
}

// === impl Draft ===

impl Draft {
    pub(crate) fn new(decoded: DynamicImage, orientation: Orientation, profile: Option<Vec<u8>>) -> Self {
        let mut image = if shows_through(&decoded) {
            DynamicImage::ImageRgba8(decoded.into_rgba8())
        } else {
            DynamicImage::ImageRgb8(decoded.into_rgb8())
        };
        image.apply_orientation(orientation);
        Self {
            image,
            profile: profile.filter(|profile| is_of_rgb(profile)),
        }
    }
}

/// Many a picture has an alpha channel and nothing in it.
fn shows_through(image: &DynamicImage) -> bool {
    match image {
        DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel.0[3] != u8::MAX),
        image if image.color().has_alpha() => image.pixels().any(|(_, _, pixel)| pixel.0[3] != u8::MAX),
        _ => false,
    }
}

/// Whether it is an ICC profile of a color space whose values are red, green and blue (ICC.1:2022, 7.2): that of a grey
/// or CMYK picture says nothing about the pixels that it was converted to.
fn is_of_rgb(profile: &[u8]) -> bool {
    profile.len() <= LARGEST_PROFILE
        && profile.get(16..20) == Some(b"RGB ")
        && profile.get(36..40) == Some(b"acsp")
}

fn over_white(image: RgbaImage) -> RgbImage {
    let mut rgb = RgbImage::new(image.width(), image.height());
    for (to, Rgba([r, g, b, alpha])) in rgb.pixels_mut().zip(image.pixels()) {
        let blend = |color: u8| {
            let mixed = u32::from(color) * u32::from(*alpha) + 255 * (255 - u32::from(*alpha));
            // At most 255 * 255 / 255.
            ((mixed + 127) / 255) as u8
        };
        to.0 = [blend(*r), blend(*g), blend(*b)];
    }
    rgb
}
