use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;

/// Where the store is.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// where uploads and outputs lie: a folder, as file:///folder
    #[arg(long = "storage-url", env = "STORAGE_URL", value_name = "URL")]
    pub url: Option<String>,
}

/// A setting that cannot be used: the variable, the value, what was expected.
#[derive(Debug, Error)]
#[error("STORAGE_URL: {value:?} cannot be used, expected {expected}")]
pub struct ConfigError {
    value: String,
    expected: &'static str,
}

const EXPECTED: &str = "file:///folder, an absolute path without `..`";

// === impl StoreArgs ===

impl StoreArgs {
    /// A store in this folder, which has an absolute path.
    pub fn of_folder(folder: &Path) -> Self {
        Self {
            url: Some(format!("file://{}", folder.display())),
        }
    }

    pub(crate) fn folder(&self) -> Result<PathBuf, ConfigError> {
        let url = self.url.as_deref().unwrap_or_default();
        let folder = url.strip_prefix("file://").map(Path::new);
        let usable = folder.filter(|folder| {
            let climbs = folder
                .components()
                .any(|part| part == std::path::Component::ParentDir);
            // The root itself is nobody's store.
            folder.is_absolute() && folder.parent().is_some() && !climbs
        });
        usable.map(Path::to_owned).ok_or_else(|| ConfigError {
            value: url.to_owned(),
            expected: EXPECTED,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_folder_is_an_absolute_path() {
        let args = |url: Option<&str>| StoreArgs {
            url: url.map(str::to_owned),
        };
        assert_eq!(
            args(Some("file:///var/store")).folder().unwrap(),
            Path::new("/var/store")
        );
        for url in [
            None,
            Some(""),
            Some("/var/store"),
            Some("file://"),
            Some("file:///"),
            Some("file://var/store"),
            Some("file:///var/../store"),
            Some("ftp://host/store"),
        ] {
            let refused = args(url).folder().unwrap_err().to_string();
            assert!(refused.starts_with("STORAGE_URL"), "{refused}");
        }
    }
}
