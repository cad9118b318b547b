use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::analysis::Bounds;
use crate::descriptor::{DESCRIPTOR_LENGTH, Descriptor};
use crate::models::{MODEL_NAME, MODEL_VERSION};
use crate::sample::{ContentHash, Rejection, Sample};
use crate::working_size::WorkingSize;

/// Samples on the disk, by the hash of the picture they were made from, so that a start does not encode
/// again what is known.
///
/// One small file a picture, in a folder by model, version and working size: another model never sees
/// these. Files are written aside and renamed, and carry a hash of their own; one that is damaged is as if
/// it were not there. Nothing is ever deleted: a picture takes 600 bytes.
#[derive(Clone, Debug)]
pub(crate) struct SampleCache {
    folder: Option<Arc<Path>>,
    warned: Arc<AtomicBool>,
}

const MAGIC: &[u8; 4] = b"SLS1";
const HASH_BYTES: usize = 32;

// === impl SampleCache ===

impl SampleCache {
    /// A cache below a folder, which is made when first needed; `None` keeps nothing.
    pub(crate) fn new(folder: Option<PathBuf>, size: WorkingSize) -> Self {
        let set = format!("{MODEL_NAME}-{MODEL_VERSION}-{}-{}", size.shortest, size.longest);
        Self {
            folder: folder.map(|folder| folder.join(set).into()),
            warned: Arc::default(),
        }
    }

    pub(crate) fn load(&self, hash: &ContentHash) -> Option<Result<Sample, Rejection>> {
        let bytes = fs::read(self.path(hash)?).ok()?;
        decode(&bytes)
    }

    pub(crate) fn store(&self, hash: &ContentHash, sample: &Result<Sample, Rejection>) {
        let (Some(path), Some(bytes)) = (self.path(hash), encode(sample)) else {
            return;
        };
        if let Err(error) = write_whole(&path, &bytes)
            && !self.warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, ?path, "samples cannot be kept; they will be encoded again at the next start");
        }
    }

    fn path(&self, hash: &ContentHash) -> Option<PathBuf> {
        Some(
            self.folder
                .as_ref()?
                .join(blake3::Hash::from_bytes(*hash).to_hex().as_str()),
        )
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Two processes may write the same sample; each writes its own file, and either is right.
    let aside = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}

fn encode(sample: &Result<Sample, Rejection>) -> Option<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    match sample {
        Ok(sample) => {
            bytes.extend(1_u32.to_le_bytes());
            let Bounds {
                left,
                top,
                width,
                height,
            } = sample.bounds;
            bytes.extend(left.to_le_bytes());
            bytes.extend(top.to_le_bytes());
            bytes.extend(width.to_le_bytes());
            bytes.extend(height.to_le_bytes());
            bytes.extend(sample.descriptor.0.iter().flat_map(|number| number.to_le_bytes()));
        }
        Err(Rejection::NoFace) => bytes.extend(0_u32.to_le_bytes()),
        Err(Rejection::SeveralFaces(faces)) => bytes.extend(faces.to_le_bytes()),
        // Depends on limits that the next start may set otherwise, and is found out quickly.
        Err(Rejection::NotDecoded(_)) => return None,
    }
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    Some(bytes)
}

fn decode(bytes: &[u8]) -> Option<Result<Sample, Rejection>> {
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    if blake3::hash(content) != *hash {
        return None;
    }
    let words = content.strip_prefix(MAGIC)?;
    let (words, _) = words.as_chunks::<4>();
    let (faces, rest) = words.split_first()?;
    match u32::from_le_bytes(*faces) {
        0 => Some(Err(Rejection::NoFace)),
        1 => {
            let ([left, top, width, height], numbers) = rest.split_first_chunk()?;
            let bounds = Bounds {
                left: i32::from_le_bytes(*left),
                top: i32::from_le_bytes(*top),
                width: u32::from_le_bytes(*width),
                height: u32::from_le_bytes(*height),
            };
            let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
            debug_assert_eq!(numbers.len(), DESCRIPTOR_LENGTH);
            Some(Ok(Sample {
                descriptor: Descriptor::from_slice(&numbers)?,
                bounds,
            }))
        }
        faces => Some(Err(Rejection::SeveralFaces(faces))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SIZE: WorkingSize = WorkingSize {
        shortest: 800,
        longest: 1280,
    };
    const HASH: ContentHash = [7; 32];

    fn sample() -> Result<Sample, Rejection> {
        let bounds = Bounds {
            left: -1,
            top: 2,
            width: 3,
            height: 4,
        };
        Ok(Sample {
            descriptor: Descriptor([0.25; DESCRIPTOR_LENGTH]),
            bounds,
        })
    }

    #[test]
    fn what_was_stored_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SampleCache::new(Some(folder.path().to_owned()), SIZE);
        for outcome in [sample(), Err(Rejection::NoFace), Err(Rejection::SeveralFaces(3))] {
            cache.store(&HASH, &outcome);
            assert_eq!(cache.load(&HASH), Some(outcome));
        }
    }

    #[test]
    fn a_damaged_file_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = SampleCache::new(Some(folder.path().to_owned()), SIZE);
        cache.store(&HASH, &sample());
        let path = cache.path(&HASH).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in [0, 10, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(cache.load(&HASH), None);
        }
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(cache.load(&HASH), None);
    }

    #[test]
    fn another_working_size_sees_other_samples() {
        let folder = tempfile::tempdir().unwrap();
        SampleCache::new(Some(folder.path().to_owned()), SIZE).store(&HASH, &sample());
        let other = WorkingSize {
            shortest: 801,
            ..SIZE
        };
        assert_eq!(
            SampleCache::new(Some(folder.path().to_owned()), other).load(&HASH),
            None
        );
    }
}
