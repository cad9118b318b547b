use std::sync::Arc;

use safelight_media::{Library, MediaError};
use thiserror::Error;

use crate::analysis::{Analysis, AnalyzeError, Bounds};
use crate::budget::Budget;
use crate::descriptor::Descriptor;
use crate::engine::{Abandoned, Engine};
use crate::pool::{Admission, Pool, PoolError};
use crate::sample_cache::SampleCache;
use crate::stage;

/// The BLAKE3 hash of a file's bytes.
pub(crate) type ContentHash = [u8; 32];

/// A picture that stands for a person: it has exactly one face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) descriptor: Descriptor,
    pub(crate) bounds: Bounds,
}

/// Why a picture cannot stand for a person.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Rejection {
    #[error("there is no face in it")]
    NoFace,
    #[error("there are {0} faces in it")]
    SeveralFaces(u32),
    #[error("{0}")]
    NotDecoded(String),
}

/// Decodes pictures and finds the faces in them, in the pool, within the budget.
#[derive(Clone)]
pub(crate) struct Analyzer {
    pub(crate) pool: Arc<Pool<Engine>>,
    pub(crate) library: Library,
    pub(crate) budget: Budget,
}

/// Turns the pictures of known people into samples, each once.
#[derive(Clone)]
pub(crate) struct SampleEncoder {
    pub(crate) analyzer: Analyzer,
    pub(crate) cache: SampleCache,
}

// === impl Rejection ===

impl Rejection {
    /// The one face, or why not.
    pub(crate) fn judge(analysis: &Analysis) -> Result<Sample, Self> {
        match analysis.faces.as_slice() {
            [] => Err(Self::NoFace),
            [face] => Ok(Sample {
                descriptor: face.descriptor,
                bounds: face.bounds,
            }),
            several => Err(Self::SeveralFaces(
                u32::try_from(several.len()).unwrap_or(u32::MAX),
            )),
        }
    }
}

// === impl Analyzer ===

impl Analyzer {
    /// Opens and analyzes a picture.
    pub(crate) async fn open(&self, uri: String, admission: Admission) -> Result<Analysis, AnalyzeError> {
        let analyzer = self.parts();
        let read = move |engine: &mut Engine, is_gone: &dyn Fn() -> bool| {
            let file = analyzer.0.read(&uri)?;
            analyze(engine, &analyzer, &file.bytes, is_gone)
        };
        settle(self.pool.run(admission, read).await)
    }

    /// Analyzes a picture that is in memory.
    pub(crate) async fn analyze(
        &self,
        bytes: Arc<[u8]>,
        admission: Admission,
    ) -> Result<Analysis, AnalyzeError> {
        let analyzer = self.parts();
        let work = move |engine: &mut Engine, is_gone: &dyn Fn() -> bool| {
            analyze(engine, &analyzer, &bytes, is_gone)
        };
        settle(self.pool.run(admission, work).await)
    }

    fn parts(&self) -> (Library, Budget) {
        (self.library.clone(), self.budget.clone())
    }
}

type Outcome = Result<Result<Analysis, Abandoned>, MediaError>;

fn analyze(
    engine: &mut Engine,
    (library, budget): &(Library, Budget),
    bytes: &[u8],
    is_gone: &dyn Fn() -> bool,
) -> Outcome {
    let sketch = library.sketch(bytes)?;
    let _share = budget.take(sketch.memory().saturating_add(bytes.len() as u64));
    if is_gone() {
        return Ok(Err(Abandoned));
    }
    let picture = stage::timed("decode", || sketch.decode())?;
    if is_gone() {
        return Ok(Err(Abandoned));
    }
    let faces = engine.faces(&picture.image, is_gone);
    Ok(faces.map(|faces| Analysis {
        width: picture.width(),
        height: picture.height(),
        faces,
    }))
}

fn settle(outcome: Result<Outcome, PoolError>) -> Result<Analysis, AnalyzeError> {
    match outcome {
        Ok(Ok(Ok(analysis))) => Ok(analysis),
        Ok(Err(error)) => Err(AnalyzeError::Media(error)),
        Err(PoolError::Busy) => Err(AnalyzeError::Busy),
        // Abandoned work has nobody waiting here; should it ever, it was not done.
        Ok(Ok(Err(Abandoned))) | Err(PoolError::Crashed) => Err(AnalyzeError::Crashed),
    }
}

// === impl SampleEncoder ===

impl SampleEncoder {
    /// The sample in a file of known people, from the cache where it was encoded before.
    ///
    /// # Errors
    /// Outer: it could not be found out now, and may be later. Inner: the picture is no sample, and will
    /// not become one while its bytes stay the same.
    pub(crate) async fn encode(
        &self,
        bytes: Vec<u8>,
    ) -> Result<(ContentHash, Result<Sample, Rejection>), AnalyzeError> {
        let cache = self.cache.clone();
        let looked_up = tokio::task::spawn_blocking(move || {
            let hash = *blake3::hash(&bytes).as_bytes();
            (hash, cache.load(&hash), bytes)
        });
        let (hash, cached, bytes) = looked_up.await.map_err(|_| AnalyzeError::Crashed)?;
        if let Some(known) = cached {
            return Ok((hash, known));
        }
        let judged = match self.analyzer.analyze(bytes.into(), Admission::OrWait).await {
            Ok(analysis) => Rejection::judge(&analysis),
            Err(AnalyzeError::Media(error)) if !error.is_retryable() => {
                return Ok((hash, Err(Rejection::NotDecoded(error.to_string()))));
            }
            // It may have been the picture.
            Err(error @ AnalyzeError::Crashed) => {
                return Ok((hash, Err(Rejection::NotDecoded(error.to_string()))));
            }
            Err(error) => return Err(error),
        };
        let cache = self.cache.clone();
        let kept = judged.clone();
        // A cache that cannot be written costs time at the next start, and nothing now.
        drop(tokio::task::spawn_blocking(move || cache.store(&hash, &kept)));
        Ok((hash, judged))
    }
}
