use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;

use crate::args::{ConfigError, MediaArgs, NfsMount};
use crate::beneath;
use crate::content_type::ContentType;
use crate::error::MediaError;
use crate::picture::Picture;
use crate::sketch::{PictureLimits, Sketch};
use crate::uri::MediaUri;

/// The folders that pictures may come from, and the limits they must keep. Cheap to clone.
///
/// All methods read the disk and block: call them from a blocking thread.
#[derive(Clone, Debug)]
pub struct Library {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    roots: Vec<PathBuf>,
    mounts: Vec<NfsMount>,
    max_file_bytes: u64,
    limits: PictureLimits,
}

/// A file as it lies on the disk, whole.
#[derive(Clone, Debug)]
pub struct MediaFile {
    /// Its bytes; at least one, at most `MEDIA_MAX_FILE_BYTES`.
    pub bytes: Vec<u8>,
    /// The last part of its path.
    pub file_name: String,
}

// === impl Library ===

impl Library {
    /// A library of these roots, mounts and limits. Whether the folders are there is not asked: a mount may
    /// come later, and until then its files are [`MediaError::Unreadable`].
    ///
    /// # Errors
    /// Where no folder is allowed at all, or one is not an absolute path without `..`.
    pub fn new(args: &MediaArgs) -> Result<Self, ConfigError> {
        args.validate()?;
        let limits = PictureLimits {
            max_pixels: args.max_pixels,
            max_side: args.max_side,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                roots: args.roots.clone(),
                mounts: args.nfs_mounts.clone(),
                max_file_bytes: args.max_file_bytes,
                limits,
            }),
        })
    }

    /// A library of one other folder, with the limits of this one.
    ///
    /// # Errors
    /// Where the folder is not an absolute path without `..`.
    pub fn of_folder(&self, folder: PathBuf) -> Result<Self, ConfigError> {
        Self::new(&MediaArgs {
            roots: vec![folder],
            nfs_mounts: Vec::new(),
            max_file_bytes: self.shared.max_file_bytes,
            max_pixels: self.shared.limits.max_pixels,
            max_side: self.shared.limits.max_side,
        })
    }

    /// Whether a URI may be accepted: its syntax, its folder, and that no symbolic link on its way leads out.
    /// A file that is not there is accepted, as it may still be being copied; so is one whose storage is
    /// away.
    ///
    /// # Errors
    /// [`MediaError::Refused`] only.
    pub fn check(&self, uri: &str) -> Result<(), MediaError> {
        let uri = self.parse(uri)?;
        match beneath::locate(&uri) {
            Err(refused @ MediaError::Refused(_)) => Err(refused),
            Err(error) => {
                tracing::debug!(%error, "accepted a path that cannot be opened yet");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Reads a file whole.
    ///
    /// # Errors
    /// Any but those of decoding.
    pub fn read(&self, uri: &str) -> Result<MediaFile, MediaError> {
        let uri = self.parse(uri)?;
        let (file, bytes_expected) = self.open(&uri)?;
        let mut bytes = Vec::with_capacity(usize::try_from(bytes_expected).unwrap_or(0) + 1);
        // One byte more than is allowed tells a file that grew over the limit while it was read.
        let allowed = self.shared.max_file_bytes;
        let read = file.take(allowed.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(MediaError::Unreadable)?;
        self.check_size(bytes.len() as u64)?;
        let file_name = uri
            .below
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        Ok(MediaFile {
            bytes,
            file_name: file_name.unwrap_or_default(),
        })
    }

    /// Reads the header of a picture that is in memory, and checks it against the limits. Cheap: tens of
    /// microseconds.
    ///
    /// # Errors
    /// Any that the bytes can cause.
    pub fn sketch<'a>(&self, bytes: &'a [u8]) -> Result<Sketch<'a>, MediaError> {
        self.check_size(bytes.len() as u64)?;
        Sketch::read(bytes, self.shared.limits)
    }

    /// Decodes a picture that is in memory.
    ///
    /// # Errors
    /// Any that the bytes can cause.
    pub fn decode_bytes(&self, bytes: &[u8]) -> Result<Picture, MediaError> {
        self.sketch(bytes)?.decode()
    }

    /// Opens and decodes a picture.
    ///
    /// # Errors
    /// Any.
    pub fn decode(&self, uri: &str) -> Result<Picture, MediaError> {
        self.decode_bytes(&self.read(uri)?.bytes)
    }

    /// Opens a picture to send its bytes on as they are: the file at its first byte, its kind by its first
    /// bytes, and its size in bytes.
    ///
    /// # Errors
    /// Any but those of decoding: what lies behind the first bytes is not looked at.
    pub fn open_stream(&self, uri: &str) -> Result<(File, ContentType, u64), MediaError> {
        let uri = self.parse(uri)?;
        let (mut file, bytes) = self.open(&uri)?;
        let mut magic = Vec::with_capacity(ContentType::MAGIC_BYTES);
        let read = file
            .by_ref()
            .take(ContentType::MAGIC_BYTES as u64)
            .read_to_end(&mut magic);
        read.and_then(|_| file.rewind()).map_err(MediaError::Unreadable)?;
        Ok((file, ContentType::of(&magic)?, bytes))
    }

    /// Opens a file that may be anything and of any size, to be looked at by somebody else: the file at its first byte,
    /// and its size in bytes.
    ///
    /// # Errors
    /// Any but those of decoding.
    pub fn open_any(&self, uri: &str) -> Result<(File, u64), MediaError> {
        beneath::open(&self.parse(uri)?)
    }

    fn parse(&self, uri: &str) -> Result<MediaUri<'_>, MediaError> {
        MediaUri::parse(uri, &self.shared.roots, &self.shared.mounts)
    }

    fn open(&self, uri: &MediaUri<'_>) -> Result<(File, u64), MediaError> {
        let (file, bytes) = beneath::open(uri)?;
        self.check_size(bytes)?;
        Ok((file, bytes))
    }

    fn check_size(&self, bytes: u64) -> Result<(), MediaError> {
        let limit = self.shared.max_file_bytes;
        if bytes == 0 {
            return Err(MediaError::Empty);
        }
        if bytes > limit {
            let setting = "MEDIA_MAX_FILE_BYTES";
            return Err(MediaError::TooLarge {
                unit: "bytes",
                found: bytes,
                limit,
                setting,
            });
        }
        Ok(())
    }
}
