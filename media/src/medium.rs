use std::fs::File;
use std::io::{self, Read, Seek};
use std::time::SystemTime;

use safelight_store::{Key, Reader};

use crate::error::MediaError;

/// A file or an object that was opened, of which nothing is known yet but its size.
#[derive(Debug)]
pub struct Medium {
    source: Source,
    size: u64,
    name: String,
    /// What was read of it to look at its first bytes.
    seen: Vec<u8>,
}

#[derive(Debug)]
enum Source {
    File(File),
    Object(Reader),
}

// === impl Medium ===

impl Medium {
    pub(crate) fn of_file(file: File, size: u64, name: String) -> Self {
        Self::new(Source::File(file), size, name)
    }

    pub(crate) fn of_object(reader: Reader, key: &Key) -> Self {
        let size = reader.size();
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        Self::new(Source::Object(reader), size, name.to_owned())
    }

    fn new(source: Source, size: u64, name: String) -> Self {
        Self {
            source,
            size,
            name,
            seen: Vec::new(),
        }
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The last part of its path or key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its first bytes, `count` of them or all there are. Whatever is done with it next begins with them again.
    ///
    /// # Errors
    /// [`MediaError::Unreadable`].
    pub fn first(&mut self, count: usize) -> Result<&[u8], MediaError> {
        if self.seen.len() < count {
            let wanted = (count - self.seen.len()) as u64;
            let read = self.source.by_ref().take(wanted).read_to_end(&mut self.seen);
            read.map_err(MediaError::Unreadable)?;
        }
        Ok(&self.seen[..count.min(self.seen.len())])
    }

    /// As a file at its first byte. An object is copied into a file for that, which has no name and is gone when it is
    /// closed, however that comes about. It lies where temporary files do (`TMPDIR`).
    ///
    /// # Errors
    /// [`MediaError::Unreadable`].
    pub fn into_file(self) -> Result<File, MediaError> {
        let copied = match self.source {
            Source::File(mut file) => file.rewind().map(|()| file),
            Source::Object(reader) => copy(self.seen.as_slice().chain(reader)),
        };
        copied.map_err(MediaError::Unreadable)
    }

    /// All of it, as long as that is no more than `most` bytes, and else as many.
    pub(crate) fn read_up_to(self, most: u64) -> Result<Vec<u8>, MediaError> {
        let expected = usize::try_from(self.size.min(most)).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected + 1);
        let read = self
            .seen
            .as_slice()
            .chain(self.source)
            .take(most)
            .read_to_end(&mut bytes);
        read.map_err(MediaError::Unreadable)?;
        Ok(bytes)
    }
}

fn copy(mut from: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut from, &mut file)?;
    // An object never changes, so that all copies of it are as old.
    file.set_modified(SystemTime::UNIX_EPOCH)?;
    file.rewind()?;
    Ok(file)
}

impl Read for Source {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(into),
            Self::Object(reader) => reader.read(into),
        }
    }
}
