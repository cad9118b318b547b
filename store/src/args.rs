use std::path::{Component, Path, PathBuf};

use clap::Args;
use thiserror::Error;

use crate::key::Key;

/// Where the store is.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// where uploads and outputs lie: a folder, as file:///folder, or a bucket, as s3://BUCKET/PREFIX or
    /// az://CONTAINER/PREFIX
    #[arg(long = "storage-url", env = "STORAGE_URL", value_name = "URL")]
    pub url: Option<String>,
}

/// A setting that cannot be used: the variable, the value, what was expected.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The URL is none of a store.
    #[error("STORAGE_URL: {value:?} cannot be used, expected {expected}")]
    Url {
        /// What was given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// What the environment says of the bucket and of how to get into it cannot be used.
    #[error("STORAGE_URL: the bucket cannot be used as it is set up: {0}")]
    Bucket(String),
}

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

/// A bucket of S3, or a container of Azure Blob, or what lies in it under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) prefix: Option<Key>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Azure,
}

const EXPECTED: &str = "file:///folder, an absolute path without `..`, or s3://BUCKET/PREFIX or az://CONTAINER/PREFIX, a prefix \
                        of letters, digits, `-`, `_` and `.` that may be left out";

// === impl StoreArgs ===

impl StoreArgs {
    /// A store in this folder, which has an absolute path.
    pub fn of_folder(folder: &Path) -> Self {
        Self {
            url: Some(format!("file://{}", folder.display())),
        }
    }

    pub(crate) fn place(&self) -> Result<Place, ConfigError> {
        let url = self.url.as_deref().unwrap_or_default();
        let place = match url.split_once("://") {
            Some(("file", folder)) => folder_of(folder).map(Place::Folder),
            Some(("s3", bucket)) => Bucket::of(Kind::S3, bucket).map(Place::Bucket),
            Some(("az", container)) => Bucket::of(Kind::Azure, container).map(Place::Bucket),
            _ => None,
        };
        place.ok_or_else(|| ConfigError::Url {
            value: url.to_owned(),
            expected: EXPECTED,
        })
    }
}

fn folder_of(path: &str) -> Option<PathBuf> {
    let folder = Path::new(path);
    let climbs = folder.components().any(|part| part == Component::ParentDir);
    // The root itself is nobody's store.
    (folder.is_absolute() && folder.parent().is_some() && !climbs).then(|| folder.to_owned())
}

// === impl Bucket ===

impl Bucket {
    fn of(kind: Kind, text: &str) -> Option<Self> {
        let (name, prefix) = text.split_once('/').unwrap_or((text, ""));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(allowed) {
            return None;
        }
        let prefix = prefix.trim_end_matches('/');
        let prefix = (!prefix.is_empty()).then(|| prefix.parse());
        Some(Self {
            kind,
            name: name.to_owned(),
            prefix: prefix.transpose().ok()?,
        })
    }

    /// What the URI of an object in it begins with.
    pub(crate) fn uri(&self) -> String {
        let scheme = match self.kind {
            Kind::S3 => "s3",
            Kind::Azure => "az",
        };
        match &self.prefix {
            Some(prefix) => format!("{scheme}://{}/{prefix}/", self.name),
            None => format!("{scheme}://{}/", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn place(url: &str) -> Result<Place, ConfigError> {
        StoreArgs {
            url: Some(url.to_owned()),
        }
        .place()
    }

    #[test]
    fn a_folder_is_an_absolute_path() {
        assert_eq!(
            place("file:///var/store").unwrap(),
            Place::Folder("/var/store".into())
        );
        assert!(StoreArgs { url: None }.place().is_err());
    }

    #[test]
    fn a_bucket_has_a_name_and_maybe_a_prefix() {
        for (url, begins) in [
            ("s3://pictures", "s3://pictures/"),
            ("s3://pictures/", "s3://pictures/"),
            ("s3://my.pictures/safelight/a", "s3://my.pictures/safelight/a/"),
            ("az://pictures/safelight/", "az://pictures/safelight/"),
        ] {
            let Place::Bucket(bucket) = place(url).unwrap() else {
                panic!("{url} is a bucket");
            };
            assert_eq!(bucket.uri(), begins);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for url in [
            "",
            "/var/store",
            "file://",
            "file:///",
            "file://var/store",
            "file:///var/../store",
            "ftp://host/store",
            "s3://",
            "s3:///a",
            "s3://user@pictures",
            "s3://pictures?region=x",
            "s3://pictures/../a",
            "s3://pictures/a//b",
            "s3://pictures/tmp",
            "S3://pictures",
            "az://",
        ] {
            let refused = place(url).unwrap_err().to_string();
            assert!(refused.starts_with("STORAGE_URL"), "{refused}");
        }
    }
}
