use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageError};
use safelight_media::{ContentType, Draft};

use crate::error::TransformError;
use crate::resize::to_size;
use crate::size::Size;

/// Of 100. Below, blocks are seen in skies.
const JPEG_QUALITY: u8 = 80;

/// A smaller picture, encoded.
///
/// Nothing of what came with the picture is in it, be it a place, a time or a preview, but the ICC profile that its
/// colors need.
pub(crate) struct Thumbnail {
    pub(crate) size: Size,
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

    fn encode(self, image: &DynamicImage, profile: Option<&[u8]>) -> Result<Vec<u8>, ImageError> {
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

fn write(
    mut encoder: impl ImageEncoder,
    image: &DynamicImage,
    profile: Option<&[u8]>,
) -> Result<(), ImageError> {
    if let Some(profile) = profile
        && let Err(error) = encoder.set_icc_profile(profile.to_vec())
    {
        tracing::debug!(%error, "a thumbnail without the profile of its picture");
    }
    encoder.write_image(
        image.as_bytes(),
        image.width(),
        image.height(),
        image.color().into(),
    )
}

/// Makes these sizes, each with the width that it gets, of a picture whose sides are `whole` in pixels, in the order that
/// was asked for.
pub(crate) fn make(
    draft: Draft,
    whole: (u32, u32),
    format: Format,
    sizes: Vec<(&Size, u32)>,
) -> Result<Vec<Thumbnail>, TransformError> {
    let Draft { mut image, profile } = draft;
    let mut wanted: Vec<_> = sizes.into_iter().enumerate().collect();
    // From the largest to the smallest, each out of the one before.
    wanted.sort_by_key(|(_, (_, width))| std::cmp::Reverse(*width));
    let mut made = Vec::with_capacity(wanted.len());
    for (place, (size, width)) in wanted {
        image = to_size(&image, width, height_of(whole, width));
        let bytes = format.encode(&image, profile.as_deref()).map_err(|error| {
            tracing::error!(%error, "a thumbnail could not be encoded");
            TransformError::Crashed
        })?;
        let thumbnail = Thumbnail {
            size: size.clone(),
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

/// At least one pixel: a picture of a line stays one.
fn height_of(whole: (u32, u32), width: u32) -> u32 {
    let height = f64::from(whole.1) * f64::from(width) / f64::from(whole.0);
    (height.round() as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proportions_stay_and_nothing_vanishes() {
        assert_eq!(height_of((4000, 3000), 320), 240);
        assert_eq!(height_of((300, 200), 120), 80);
        assert_eq!(height_of((1000, 3), 120), 1);
        assert_eq!(height_of((3, 1000), 1), 333);
        assert_eq!(height_of((120, 80), 120), 80);
    }
}
