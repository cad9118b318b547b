use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use safelight_store::{Key, Store};

use crate::args::{ConfigError, MediaArgs, NfsMount};
use crate::beneath;
use crate::content_type::ContentType;
use crate::error::MediaError;
use crate::medium::Medium;
use crate::picture::Picture;
use crate::sketch::{PictureLimits, Sketch};
use crate::uri::MediaUri;

/// The folders that pictures may come from, a store beside them, and the limits they must keep. Cheap to clone.
///
/// All methods read the disk or the network and block: call them from a blocking thread.
#[derive(Clone, Debug)]
pub struct Library {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    roots: Vec<PathBuf>,
    mounts: Vec<NfsMount>,
    /// A bucket; a store in a folder is one of the roots.
    bucket: Option<Store>,
    max_file_bytes: u64,
    limits: PictureLimits,
}

/// What a URI names.
enum Place<'a> {
    File(MediaUri<'a>),
    Object(&'a Store, Key),
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
        Self::with_store(args, None)
    }

    /// As [`Library::new`], with the objects of a store beside the files.
    ///
    /// # Errors
    /// As [`Library::new`], where there is no store.
    pub fn with_store(args: &MediaArgs, store: Option<&Store>) -> Result<Self, ConfigError> {
        let mut args = args.clone();
        let bucket = store.filter(|store| store.folder().is_none());
        args.roots
            .extend(store.and_then(Store::folder).map(std::path::Path::to_owned));
        args.validate(bucket.is_some())?;
        let limits = PictureLimits {
            max_pixels: args.max_pixels,
            max_side: args.max_side,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                roots: args.roots,
                mounts: args.nfs_mounts,
                bucket: bucket.cloned(),
                max_file_bytes: args.max_file_bytes,
                limits,
            }),
        })
    }

    /// A library of the objects of a store and nothing else, with the limits of this one.
    pub fn of_store(&self, store: &Store) -> Self {
        Self {
            shared: Arc::new(Shared {
                roots: store
                    .folder()
                    .map(std::path::Path::to_owned)
                    .into_iter()
                    .collect(),
                mounts: Vec::new(),
                bucket: store.folder().is_none().then(|| store.clone()),
                max_file_bytes: self.shared.max_file_bytes,
                limits: self.shared.limits,
            }),
        }
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
        let Place::File(uri) = self.place(uri)? else {
            return Ok(());
        };
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
        self.read_open(self.open(uri)?)
    }

    /// Reads a medium whole that was opened.
    ///
    /// # Errors
    /// Any but those of decoding.
    pub fn read_open(&self, medium: Medium) -> Result<MediaFile, MediaError> {
        self.check_size(medium.size())?;
        let file_name = medium.name().to_owned();
        // One byte more than is allowed tells a file that grew over the limit while it was read.
        let bytes = medium.read_up_to(self.shared.max_file_bytes.saturating_add(1))?;
        self.check_size(bytes.len() as u64)?;
        Ok(MediaFile { bytes, file_name })
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
        let mut medium = self.open(uri)?;
        let bytes = medium.size();
        self.check_size(bytes)?;
        let kind = ContentType::of(medium.first(ContentType::MAGIC_BYTES)?)?;
        Ok((medium.into_file()?, kind, bytes))
    }

    /// Opens what may be anything and of any size, to be looked at by somebody else.
    ///
    /// # Errors
    /// Any but those of decoding.
    pub fn open(&self, uri: &str) -> Result<Medium, MediaError> {
        match self.place(uri)? {
            Place::File(uri) => {
                let (file, bytes) = beneath::open(&uri)?;
                let name = uri.below.file_name().unwrap_or_default();
                Ok(Medium::of_file(file, bytes, name.to_string_lossy().into_owned()))
            }
            Place::Object(store, key) => Ok(Medium::of_object(store.reader(&key)?, &key)),
        }
    }

    fn place(&self, uri: &str) -> Result<Place<'_>, MediaError> {
        let shared = &*self.shared;
        if let Some(store) = &shared.bucket
            && let Some(key) = store.key_of(uri)
        {
            return Ok(Place::Object(store, key));
        }
        MediaUri::parse(uri, &shared.roots, &shared.mounts).map(Place::File)
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
