use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use crate::remote::Incoming;

/// An object that is read from its first byte on, and not held in memory. As with the [`Store`](crate::Store), reading
/// blocks.
pub struct Reader {
    source: Source,
    size: u64,
}

enum Source {
    File(File),
    Remote(Incoming),
}

// === impl Reader ===

impl Reader {
    pub(crate) fn of_file(file: File, size: u64) -> Self {
        Self {
            source: Source::File(file),
            size,
        }
    }

    pub(crate) fn of_remote(incoming: Incoming, size: u64) -> Self {
        Self {
            source: Source::Remote(incoming),
            size,
        }
    }

    /// The size of the object.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::File(file) => file.read(into),
            Source::Remote(incoming) => incoming.read(into),
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
