use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use crate::content_type::ContentType;
use crate::error::MediaError;
use crate::jpeg::Jpeg;
use crate::picture::{Draft, Picture};

/// Memory for what a header carries besides pixels: palettes, profiles, texts. In bytes.
const HEADER_MEMORY: u64 = 32 << 20;

/// Bytes that one pixel may take while it is decoded: four channels of 16 bits.
const BYTES_PER_PIXEL: u64 = 8;

/// How large a decoded picture may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PictureLimits {
    pub(crate) max_pixels: u64,
    pub(crate) max_side: u32,
}

/// A picture whose header has been read and found within the limits; nothing is decoded yet.
pub struct Sketch<'a> {
    width: u32,
    height: u32,
    orientation: Orientation,
    memory: u64,
    content_type: ContentType,
    profile: Option<Vec<u8>>,
    source: Source<'a>,
}

enum Source<'a> {
    Jpeg(Jpeg<'a>),
    Other(Box<dyn ImageDecoder + 'a>),
}

// === impl PictureLimits ===

impl PictureLimits {
    fn check(self, width: u32, height: u32) -> Result<(), MediaError> {
        let side = width.max(height);
        if side > self.max_side {
            return Err(MediaError::TooLarge {
                unit: "pixels on one side",
                found: side.into(),
                limit: self.max_side.into(),
                setting: "MEDIA_MAX_SIDE",
            });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels {
            return Err(MediaError::TooLarge {
                unit: "pixels",
                found: pixels,
                limit: self.max_pixels,
                setting: "MEDIA_MAX_PIXELS",
            });
        }
        if pixels == 0 {
            return Err(MediaError::Corrupt("it has no pixels".into()));
        }
        Ok(())
    }

    fn check_bytes(self, bytes: u64) -> Result<(), MediaError> {
        let limit = self.max_pixels.saturating_mul(BYTES_PER_PIXEL);
        if bytes <= limit {
            return Ok(());
        }
        Err(MediaError::TooLarge {
            unit: "bytes when decoded",
            found: bytes,
            limit,
            setting: "MEDIA_MAX_PIXELS, 8 bytes each",
        })
    }
}

// === impl Sketch ===

impl<'a> Sketch<'a> {
    pub(crate) fn read(bytes: &'a [u8], limits: PictureLimits) -> Result<Self, MediaError> {
        if bytes.is_empty() {
            return Err(MediaError::Empty);
        }
        let content_type = ContentType::of(bytes)?;
        contained(|| match content_type {
            ContentType::Jpeg => Self::read_jpeg(bytes, limits),
            other => Self::read_other(bytes, other, limits),
        })
    }

    fn read_jpeg(bytes: &'a [u8], limits: PictureLimits) -> Result<Self, MediaError> {
        let mut jpeg = Jpeg::read_header(bytes)?;
        limits.check(jpeg.width, jpeg.height)?;
        limits.check_bytes(jpeg.memory())?;
        Ok(Self {
            width: jpeg.width,
            height: jpeg.height,
            orientation: jpeg.orientation,
            memory: jpeg.memory(),
            content_type: ContentType::Jpeg,
            profile: jpeg.profile.take(),
            source: Source::Jpeg(jpeg),
        })
    }

    fn read_other(bytes: &'a [u8], kind: ContentType, limits: PictureLimits) -> Result<Self, MediaError> {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), kind.format());
        let mut allowed = Limits::no_limits();
        allowed.max_alloc = Some(HEADER_MEMORY);
        reader.limits(allowed);
        let mut decoder = reader.into_decoder().map_err(image_error)?;
        let (width, height) = decoder.dimensions();
        // `image` enforces its limits in `ImageReader::decode` only, which cannot tell the orientation.
        // `DynamicImage::from_decoder` below allocates `total_bytes()` whatever they are, so this is the wall.
        limits.check(width, height)?;
        let pixels = u64::from(width) * u64::from(height);
        let memory = decoder.total_bytes().saturating_add(3 * pixels);
        limits.check_bytes(decoder.total_bytes())?;
        let mut allowed = Limits::no_limits();
        allowed.max_alloc = Some(memory.saturating_add(HEADER_MEMORY));
        decoder.set_limits(allowed).map_err(image_error)?;
        // A picture with an unreadable EXIF block is a picture the right way up.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        // As one whose colors nobody described is one of the usual colors.
        let profile = decoder.icc_profile().unwrap_or(None);
        Ok(Self {
            width,
            height,
            orientation,
            memory,
            content_type: kind,
            profile,
            source: Source::Other(Box::new(decoder)),
        })
    }

    /// The kind of the file.
    pub fn content_type(&self) -> ContentType {
        self.content_type
    }

    /// Width of the upright picture, in pixels.
    pub fn width(&self) -> u32 {
        if self.is_turned() { self.height } else { self.width }
    }

    /// Height of the upright picture, in pixels.
    pub fn height(&self) -> u32 {
        if self.is_turned() { self.width } else { self.height }
    }

    /// The memory that [`Sketch::decode`] takes at its peak, in bytes; for a budget shared by several
    /// decoders. An estimate, true to about a quarter.
    pub fn memory(&self) -> u64 {
        // A turned picture is copied once more.
        let turned = if self.is_turned() {
            3 * u64::from(self.width) * u64::from(self.height)
        } else {
            0
        };
        self.memory.max(2 * turned)
    }

    /// Decodes the picture. Takes the CPU for milliseconds to seconds: not for an async task.
    ///
    /// # Errors
    /// [`MediaError::Corrupt`] where the data are damaged or end early, also where a decoder panics;
    /// [`MediaError::Unsupported`], [`MediaError::TooLarge`].
    pub fn decode(self) -> Result<Picture, MediaError> {
        contained(|| {
            let decoded = match self.source {
                Source::Jpeg(jpeg) => jpeg.decode()?,
                Source::Other(decoder) => DynamicImage::from_decoder(decoder).map_err(image_error)?,
            };
            Ok(Picture::new(decoded, self.orientation, self.profile))
        })
    }

    /// Decodes the picture for one that is to be `width` pixels wide and made of it. Where the format allows it, it comes at
    /// a half, a quarter or an eighth of its size, which takes a part of the time, and still large enough that nothing
    /// is seen of that.
    ///
    /// # Errors
    /// As [`Sketch::decode`].
    pub fn draft(self, width: u32) -> Result<Draft, MediaError> {
        let whole = self.width();
        contained(|| {
            let decoded = match self.source {
                Source::Jpeg(jpeg) => jpeg.decode_for(whole, width)?,
                Source::Other(decoder) => DynamicImage::from_decoder(decoder).map_err(image_error)?,
            };
            Ok(Draft::new(decoded, self.orientation, self.profile))
        })
    }

    fn is_turned(&self) -> bool {
        matches!(
            self.orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        )
    }
}

/// A decoder that panics has met a file that its authors did not think of. That is the file's fault, and
/// the next one is decoded as if nothing had been.
fn contained<T>(decode: impl FnOnce() -> Result<T, MediaError>) -> Result<T, MediaError> {
    // Nothing that the closure holds is used after a panic: it owns its decoder and only reads the bytes.
    catch_unwind(AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(MediaError::Corrupt("the decoder gave up on it".into())))
}

fn image_error(error: ImageError) -> MediaError {
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            MediaError::Corrupt("it is cut off before its end".into())
        }
        ImageError::Unsupported(error) => MediaError::Unsupported(error.to_string()),
        ImageError::Limits(error) => match error.kind() {
            LimitErrorKind::InsufficientMemory => {
                MediaError::Corrupt("decoding it takes more memory than its size explains".into())
            }
            _ => MediaError::Corrupt(error.to_string()),
        },
        error => MediaError::Corrupt(error.to_string()),
    }
}
