use image::ImageFormat;

use crate::error::MediaError;

/// The kinds of picture that are opened, told apart by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentType {
    /// `FF D8 FF`.
    Jpeg,
    /// `89 P N G`.
    Png,
    /// `GIF8`. The first frame counts.
    Gif,
    /// `RIFF....WEBP`. The first frame counts.
    WebP,
    /// `BM`.
    Bmp,
    /// `II*` or `MM*`. The first page counts.
    Tiff,
}

// === impl ContentType ===

impl ContentType {
    /// How many bytes [`ContentType::of`] needs to see.
    pub const MAGIC_BYTES: usize = 16;

    /// The kind of a file by its first bytes (at least [`ContentType::MAGIC_BYTES`], or all there are).
    ///
    /// # Errors
    /// [`MediaError::Unsupported`] where the bytes are those of a picture of another kind,
    /// [`MediaError::NotAPicture`] otherwise.
    pub fn of(bytes: &[u8]) -> Result<Self, MediaError> {
        if bytes.get(4..8) == Some(b"ftyp") {
            return Err(MediaError::Unsupported(
                "HEIC, AVIF and films are not opened; send a JPEG".into(),
            ));
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::Gif) => Ok(Self::Gif),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            Ok(ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(ImageFormat::Tiff) => Ok(Self::Tiff),
            Ok(other) => Err(MediaError::Unsupported(format!(
                "{other:?} is not opened; send a JPEG"
            ))),
            Err(_) => Err(MediaError::NotAPicture),
        }
    }

    /// The media type for an HTTP header, for example `image/jpeg`.
    pub fn mime(self) -> &'static str {
        self.format().to_mime_type()
    }

    pub(crate) fn format(self) -> ImageFormat {
        match self {
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Png => ImageFormat::Png,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}
