use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::error::MediaError;
use crate::jpeg_scaled;

/// Zeros behind the data, so that looking ahead is not running out.
const LOOK_AHEAD: usize = 16;

/// A JPEG whose header has been read.
///
/// The decoder is used directly, and not through the crate `image`, because that one decodes leniently:
/// half a file becomes a picture whose lower half is grey. Here headers are read leniently, as cameras write
/// odd ones, and the picture data strictly.
pub(crate) struct Jpeg<'a> {
    bytes: &'a [u8],
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    pub(crate) profile: Option<Vec<u8>>,
    progressive: bool,
    colors: ColorSpace,
}

// === impl Jpeg ===

impl<'a> Jpeg<'a> {
    pub(crate) fn read_header(bytes: &'a [u8]) -> Result<Self, MediaError> {
        let decoder = read_header(bytes)?;
        let (Some(info), Some(colors)) = (decoder.info(), decoder.input_colorspace()) else {
            return Err(MediaError::Corrupt("its header is incomplete".into()));
        };
        let orientation = decoder
            .exif()
            .and_then(|exif| Orientation::from_exif_chunk(exif))
            .unwrap_or(Orientation::NoTransforms);
        Ok(Self {
            bytes,
            width: u32::from(info.width),
            height: u32::from(info.height),
            orientation,
            profile: decoder.icc_profile(),
            progressive: info.sof.is_progressive(),
            colors,
        })
    }

    /// The memory that decoding takes at its peak, in bytes: the pixels and a copy of the data, or, where the
    /// scans refine each other, a 16-bit coefficient for every sample.
    pub(crate) fn memory(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let samples: u64 = if self.is_grey() { 1 } else { 3 };
        if self.progressive {
            pixels * (3 + 2 * (samples + 1))
        } else {
            pixels * 3 + self.bytes.len() as u64
        }
    }

    pub(crate) fn decode(self) -> Result<DynamicImage, MediaError> {
        let Some(end) = end_of_data(self.bytes) else {
            return Err(MediaError::Corrupt("it is cut off before its end".into()));
        };
        let pixels = if self.progressive {
            self.pixels(self.bytes)
        } else {
            // Where the end marker comes too early the decoder goes on with zeros, silently. Without the
            // marker it finds that the data ran out. It looks ahead by up to eight bytes, which are added.
            let mut data = Vec::with_capacity(end + LOOK_AHEAD);
            data.extend_from_slice(&self.bytes[..end]);
            data.resize(end + LOOK_AHEAD, 0);
            self.pixels(&data)
        };
        let (width, height) = (self.width, self.height);
        let decoded = if self.is_grey() {
            GrayImage::from_raw(width, height, pixels?).map(DynamicImage::ImageLuma8)
        } else {
            RgbImage::from_raw(width, height, pixels?).map(DynamicImage::ImageRgb8)
        };
        decoded.ok_or_else(|| MediaError::Corrupt("it holds fewer pixels than its header says".into()))
    }

    /// Decodes it for a picture `wanted` pixels wide, of this one `width` pixels wide when it is upright: smaller than it is
    /// where that will do and it is of the usual kind.
    pub(crate) fn decode_for(self, width: u32, wanted: u32) -> Result<DynamicImage, MediaError> {
        let eighths = jpeg_scaled::eighths(width, wanted);
        let fine = jpeg_scaled::is_fine(width, wanted, eighths);
        let is_usual = !self.progressive && matches!(self.colors, ColorSpace::Luma | ColorSpace::YCbCr);
        if eighths < 8
            && is_usual
            && let Some(end) = end_of_data(self.bytes)
            && let Some(decoded) =
                jpeg_scaled::decode(&self.bytes[..end], (self.width, self.height), eighths, fine)
        {
            return Ok(decoded);
        }
        // Whether it is damaged is said as for whole pictures.
        self.decode()
    }

    fn is_grey(&self) -> bool {
        self.colors == ColorSpace::Luma
    }

    fn pixels(&self, data: &[u8]) -> Result<Vec<u8>, MediaError> {
        let mut decoder = read_header(data)?;
        let colors = if self.is_grey() {
            ColorSpace::Luma
        } else {
            ColorSpace::RGB
        };
        let options = decoder
            .options()
            .jpeg_set_out_colorspace(colors)
            .set_strict_mode(true);
        decoder.set_options(options);
        decoder.decode().map_err(decode_error)
    }
}

fn read_header(bytes: &[u8]) -> Result<JpegDecoder<ZCursor<&[u8]>>, MediaError> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(decode_error)?;
    Ok(decoder)
}

/// Where the end marker begins that the segments lead to from the first marker (ITU-T T.81, annex B).
///
/// Many cameras put a thumbnail into a segment before it, or a second picture behind it; each has an end
/// marker of its own, so looking for one from either side would find the wrong one.
fn end_of_data(bytes: &[u8]) -> Option<usize> {
    const TEMPORARY: u8 = 0x01;
    const START: u8 = 0xD8;
    const END: u8 = 0xD9;
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        at += rest
            .windows(2)
            .position(|pair| pair[0] == 0xFF && is_marker(pair[1]))?;
        match bytes.get(at + 1)? {
            &END => return Some(at),
            &START | &TEMPORARY => at += 2,
            // A segment: its length, itself included, and then its bytes. After the header of a scan comes
            // the picture's data, where 0xFF is followed by 0 or by a restart marker, so that the search
            // finds the first real marker after it.
            _ => {
                let length = bytes.get(at + 2..)?.first_chunk()?;
                at += 2 + usize::from(u16::from_be_bytes(*length));
            }
        }
    }
}

/// Not a stuffed zero, not a fill byte, not a restart inside of a scan.
fn is_marker(byte: u8) -> bool {
    !matches!(byte, 0x00 | 0xFF | 0xD0..=0xD7)
}

fn decode_error(error: DecodeErrors) -> MediaError {
    match error {
        DecodeErrors::Unsupported(feature) => MediaError::Unsupported(format!("JPEG with {feature:?}")),
        DecodeErrors::ExhaustedData => MediaError::Corrupt("it is cut off before its end".into()),
        other => MediaError::Corrupt(one_line(&format!("{other:?}"))),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
