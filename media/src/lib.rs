//! The one place that opens media: by URI, beneath its roots, within its limits.
//!
//! A [`Library`] knows the folders that pictures may come from and the limits they must keep. It takes a
//! media URI through four doors, each of which may refuse:
//!
//! 1. [`MediaUri`]: the syntax. An absolute path or `nfs://NAME/...`; no `..`, no other scheme.
//! 2. `beneath`: the file. Opened below its root in one step that no symbolic link can lead out of.
//! 3. [`ContentType`]: the kind, by the first bytes. The extension is ignored.
//! 4. [`Sketch`]: the header. Width, height and the memory that decoding takes, before anything is decoded.
//!
//! What comes out is a [`Picture`]: upright, 8-bit RGB, whatever went in; or a [`Draft`], to be made smaller.
//!
//! ```
//! use safelight_media::{Library, MediaArgs, MediaError};
//!
//! let folder = std::env::temp_dir();
//! let library = Library::new(&MediaArgs::with_roots([folder.clone()]))?;
//! assert!(matches!(library.check("/etc/passwd"), Err(MediaError::Refused(_))));
//! assert!(matches!(library.check("https://example.org/a.jpg"), Err(MediaError::Refused(_))));
//! # Ok::<(), safelight_media::ConfigError>(())
//! ```
#![forbid(unsafe_code)]

mod args;
mod beneath;
mod content_type;
mod error;
mod jpeg;
mod jpeg_scaled;
mod library;
mod medium;
mod picture;
mod sketch;
mod uri;

pub use crate::args::{ConfigError, MediaArgs, NfsMount};
pub use crate::content_type::ContentType;
pub use crate::error::MediaError;
pub use crate::library::{Library, MediaFile};
pub use crate::medium::Medium;
pub use crate::picture::{Draft, Picture};
pub use crate::sketch::Sketch;
pub use crate::uri::MAX_URI_CHARS;
