use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError, RgbImage};
use safelight_media::{ContentType, Picture};

use crate::error::TransformError;
use crate::resize::to_width;
use crate::size::{Size, fitting};

/// Of 100. Below, blocks are seen in skies.
const JPEG_QUALITY: u8 = 80;

/// A smaller picture, encoded.
///
/// Nothing of what came with the picture is in it, be it a place, a time or a preview, but the ICC profile that its
/// colors need.
pub(crate) struct Thumbnail<'a> {
    pub(crate) size: &'a Size,
    pub(crate) format: Format,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) bytes: Vec<u8>,
}

/// How outputs are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Jpeg,
    Png,
}

// === impl Format ===

impl Format {
    /// Photographs stay JPEG; what came without loss gets no more of it than by its size.
    pub(crate) fn of(source: ContentType) -> Self {
        match source {
            ContentType::Jpeg => Self::Jpeg,
            ContentType::Png
            | ContentType::Gif
            | ContentType::WebP
            | ContentType::Bmp
            | ContentType::Tiff => Self::Png,
        }
    }

    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    pub(crate) fn mime(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    fn encode(self, image: &RgbImage, profile: Option<&[u8]>) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        match self {
            Self::Jpeg => write(
                JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY),
                image,
                profile,
            )?,
            Self::Png => write(PngEncoder::new(&mut bytes), image, profile)?,
        }
        Ok(bytes)
    }
}

fn write(mut encoder: impl ImageEncoder, image: &RgbImage, profile: Option<&[u8]>) -> Result<(), ImageError> {
    if let Some(profile) = profile
        && let Err(error) = encoder.set_icc_profile(profile.to_vec())
    {
        tracing::debug!(%error, "a thumbnail without the profile of its picture");
    }
    encoder.write_image(
        image.as_raw(),
        image.width(),
        image.height(),
        ExtendedColorType::Rgb8,
    )
}

/// Makes the sizes that are no larger than the picture, in the order that was asked for.
pub(crate) fn make<'a>(
    picture: Picture,
    format: Format,
    sizes: &'a [Size],
) -> Result<Vec<Thumbnail<'a>>, TransformError> {
    let Picture { mut image, profile } = picture;
    let mut wanted: Vec<_> = fitting(sizes, image.width()).into_iter().enumerate().collect();
    // From the largest to the smallest, each out of the one before.
    wanted.sort_by_key(|(_, (_, width))| std::cmp::Reverse(*width));
    let mut made = Vec::with_capacity(wanted.len());
    for (place, (size, width)) in wanted {
        image = to_width(&image, width);
        let bytes = format.encode(&image, profile.as_deref()).map_err(|error| {
            tracing::error!(%error, "a thumbnail could not be encoded");
            TransformError::Crashed
        })?;
        let thumbnail = Thumbnail {
            size,
            format,
            width: image.width(),
            height: image.height(),
            bytes,
        };
        made.push((place, thumbnail));
    }
    made.sort_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, thumbnail)| thumbnail).collect())
}
