use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use thiserror::Error;

/// Where pictures may come from, and how large they may be.
#[derive(Args, Clone, Debug)]
pub struct MediaArgs {
    /// Folders that pictures may be opened from: absolute paths, separated by commas.
    #[arg(
        long = "media-roots",
        env = "MEDIA_ROOTS",
        value_delimiter = ',',
        value_name = "DIR,..."
    )]
    pub roots: Vec<PathBuf>,

    /// Shared folders: `nfs://NAME/a.jpg` is opened as `DIR/a.jpg`. Pairs separated by commas.
    #[arg(
        long = "nfs-mounts",
        env = "NFS_MOUNTS",
        value_delimiter = ',',
        value_name = "NAME=DIR,..."
    )]
    pub nfs_mounts: Vec<NfsMount>,

    /// The largest file that is opened, in bytes.
    #[arg(
        long = "media-max-file-bytes",
        env = "MEDIA_MAX_FILE_BYTES",
        default_value_t = 64 << 20,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "BYTES"
    )]
    pub max_file_bytes: u64,

    /// The largest picture that is decoded, in pixels (width times height).
    #[arg(
        long = "media-max-pixels",
        env = "MEDIA_MAX_PIXELS",
        default_value_t = 50_000_000,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000),
        value_name = "PIXELS"
    )]
    pub max_pixels: u64,

    /// The longest side of a picture that is decoded, in pixels.
    #[arg(
        long = "media-max-side",
        env = "MEDIA_MAX_SIDE",
        default_value_t = 20_000,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "PIXELS"
    )]
    pub max_side: u32,
}

/// A shared folder under a name: `NAME=/dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NfsMount {
    /// What stands where a URL has its host. Letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The absolute path it is mounted at.
    pub folder: PathBuf,
}

/// A setting that cannot be used: the variable, the value, what was expected.
#[derive(Debug, Error)]
#[error("{variable}: {value:?} cannot be used, expected {expected}")]
pub struct ConfigError {
    /// The variable's name.
    pub variable: &'static str,
    /// What it was set to.
    pub value: String,
    /// What would be right.
    pub expected: &'static str,
}

// === impl MediaArgs ===

impl MediaArgs {
    /// The default limits, and these folders as roots.
    pub fn with_roots(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            roots: roots.into_iter().collect(),
            nfs_mounts: Vec::new(),
            max_file_bytes: 64 << 20,
            max_pixels: 50_000_000,
            max_side: 20_000,
        }
    }

    /// `elsewhere` says that there is something to open beside files.
    pub(crate) fn validate(&self, elsewhere: bool) -> Result<(), ConfigError> {
        if self.roots.is_empty() && self.nfs_mounts.is_empty() && !elsewhere {
            return Err(ConfigError {
                variable: "MEDIA_ROOTS",
                value: String::new(),
                expected: "at least one absolute path of a folder that pictures may be opened from",
            });
        }
        for root in &self.roots {
            validate_folder("MEDIA_ROOTS", root)?;
        }
        for mount in &self.nfs_mounts {
            validate_folder("NFS_MOUNTS", &mount.folder)?;
        }
        Ok(())
    }
}

fn validate_folder(variable: &'static str, folder: &Path) -> Result<(), ConfigError> {
    let climbs = folder.components().any(|part| part == Component::ParentDir);
    if folder.is_absolute() && !climbs {
        return Ok(());
    }
    Err(ConfigError {
        variable,
        value: folder.display().to_string(),
        expected: "an absolute path without `..`",
    })
}

// === impl NfsMount ===

impl FromStr for NfsMount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, folder) = text
            .split_once('=')
            .ok_or("expected NAME=/folder, for example cameras=/mnt/cameras")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(allowed) {
            return Err("expected a name of letters, digits, `-`, `_` and `.` before the `=`".into());
        }
        if !folder.starts_with('/') {
            return Err("expected an absolute path after the `=`".into());
        }
        Ok(Self {
            name: name.to_owned(),
            folder: PathBuf::from(folder),
        })
    }
}
