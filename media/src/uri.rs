use std::path::{Component, Path, PathBuf};

use crate::args::NfsMount;
use crate::error::MediaError;

/// The longest media URI, in characters.
pub const MAX_URI_CHARS: usize = 4096;

/// A media URI whose syntax is allowed, split into the folder it must stay in and the way from there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaUri<'a> {
    /// The configured root or mount.
    pub(crate) root: &'a Path,
    /// Relative, not empty, of plain names only.
    pub(crate) below: PathBuf,
}

// === impl MediaUri ===

impl<'a> MediaUri<'a> {
    /// Reads a URI without touching the disk. Characters are taken as they stand: `%2e` is a file name
    /// with a percent sign and not a dot.
    pub(crate) fn parse(uri: &str, roots: &'a [PathBuf], mounts: &'a [NfsMount]) -> Result<Self, MediaError> {
        check_text(uri)?;
        if uri.starts_with('/') {
            return Self::in_roots(uri, roots);
        }
        let Some((scheme, rest)) = uri.split_once("://") else {
            return refuse("it is not absolute; send a path that begins with `/`");
        };
        if scheme != "nfs" {
            return refuse("its scheme is not allowed; send an absolute path or nfs://NAME/...");
        }
        let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(mount) = mounts.iter().find(|mount| mount.name == name) else {
            return refuse("no mount of this name is allowed (NFS_MOUNTS)");
        };
        Self::below(&mount.folder, Path::new(path))
    }

    /// Where roots lie within each other the innermost counts.
    fn in_roots(path: &str, roots: &'a [PathBuf]) -> Result<Self, MediaError> {
        let path = Path::new(path);
        let innermost = roots
            .iter()
            .filter_map(|root| path.strip_prefix(root).ok().map(|below| (root, below)))
            .min_by_key(|(_, below)| below.components().count());
        match innermost {
            Some((root, below)) => Self::below(root, below),
            None => refuse("it lies outside the folders that pictures may come from (MEDIA_ROOTS)"),
        }
    }

    fn below(root: &'a Path, path: &Path) -> Result<Self, MediaError> {
        let below: PathBuf = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        if below.as_os_str().is_empty() {
            return refuse("it names a folder and not a file");
        }
        Ok(Self { root, below })
    }
}

fn check_text(uri: &str) -> Result<(), MediaError> {
    if uri.is_empty() {
        return refuse("it is empty");
    }
    if uri.chars().nth(MAX_URI_CHARS).is_some() {
        return refuse("it is longer than 4096 characters");
    }
    if uri.contains('\0') {
        return refuse("it has a NUL character in it");
    }
    if uri.split('/').any(|part| part == "..") {
        return refuse("it climbs with `..`");
    }
    Ok(())
}

fn refuse<T>(reason: &str) -> Result<T, MediaError> {
    Err(MediaError::Refused(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(uri: &str) -> Result<(PathBuf, PathBuf), MediaError> {
        let roots = [
            PathBuf::from("/media"),
            PathBuf::from("/media/inner"),
            PathBuf::from("/data/"),
        ];
        let mounts = [NfsMount {
            name: "cameras".into(),
            folder: "/mnt/cameras".into(),
        }];
        MediaUri::parse(uri, &roots, &mounts).map(|uri| (uri.root.to_owned(), uri.below))
    }

    #[test]
    fn a_path_below_a_root_is_taken_apart() {
        assert_eq!(
            parse("/media/a/b.jpg").unwrap(),
            ("/media".into(), "a/b.jpg".into())
        );
        assert_eq!(
            parse("/data//./b.jpg").unwrap(),
            ("/data/".into(), "b.jpg".into())
        );
        assert_eq!(parse("//media/b.jpg").unwrap(), ("/media".into(), "b.jpg".into()));
    }

    #[test]
    fn the_innermost_root_counts() {
        assert_eq!(
            parse("/media/inner/b.jpg").unwrap(),
            ("/media/inner".into(), "b.jpg".into())
        );
    }

    #[test]
    fn a_mount_is_found_by_its_name() {
        assert_eq!(
            parse("nfs://cameras/a/b.jpg").unwrap(),
            ("/mnt/cameras".into(), "a/b.jpg".into())
        );
    }

    #[test]
    fn everything_else_is_refused() {
        let long = format!("/media/{}", "x".repeat(MAX_URI_CHARS));
        for uri in [
            "",
            "b.jpg",
            "media/b.jpg",
            "/etc/passwd",
            "/mediaother/b.jpg",
            "/media",
            "/media/",
            "/media/.",
            "/media/../etc/passwd",
            "/media/a/..",
            "/media/a\0.jpg",
            "nfs://other/b.jpg",
            "nfs://cameras",
            "nfs://cameras/",
            "nfs://cameras/../b.jpg",
            "NFS://cameras/b.jpg",
            "http://127.0.0.1/b.jpg",
            "file:///media/b.jpg",
            "s3://bucket/b.jpg",
            &long,
        ] {
            assert!(matches!(parse(uri), Err(MediaError::Refused(_))), "{uri:?}");
        }
    }

    #[test]
    fn a_uri_of_exactly_the_longest_length_is_taken() {
        let uri = format!("/media/{}", "é".repeat(MAX_URI_CHARS - 7));
        assert!(parse(&uri).is_ok());
    }
}
