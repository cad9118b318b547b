use std::sync::Arc;
use std::time::Instant;

use safelight_media::Library;
use safelight_store::{Key, Put, Store};

use crate::config::Config;
use crate::error::TransformError;
use crate::size::{self, Size};
use crate::thumbnails::{self, Format};
use crate::workshop::Workshop;

/// Makes pictures out of media. Cheap to clone; every clone is the same.
#[derive(Clone, Debug)]
pub struct Transformer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    library: Library,
    store: Store,
    workshop: Workshop,
}

/// What a medium is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its media type, by its content.
    pub content_type: &'static str,
    /// In pixels, of the upright picture.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Of the file.
    pub bytes: u64,
}

/// A picture that was made, or that was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The [`Size::role`] that was asked for.
    pub role: String,
    /// Where it lies in the store.
    pub key: Key,
    /// What it can be opened by.
    pub uri: String,
    /// `image/jpeg` or `image/png`.
    pub content_type: &'static str,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub blake3: [u8; 32],
}

// === impl Transformer ===

impl Transformer {
    /// A transformer of the media of this library, which includes the store if uploads are to be worked on.
    pub fn new(config: &Config, library: Library, store: Store) -> Self {
        Self {
            inner: Arc::new(Inner {
                library,
                store,
                workshop: Workshop::new(config.workers(), usize::from(config.queue)),
            }),
        }
    }

    /// Says what a medium is.
    ///
    /// # Errors
    /// Any but [`TransformError::Store`].
    ///
    /// # Cancel safety
    /// Dropped, it begins nothing any more; what has begun runs to its end.
    pub async fn probe(&self, uri: String) -> Result<Probe, TransformError> {
        let inner = Arc::clone(&self.inner);
        let probed = self.inner.workshop.run(move || {
            let file = inner.library.read(&uri)?;
            let sketch = inner.library.sketch(&file.bytes)?;
            Ok(Probe {
                content_type: sketch.content_type().mime(),
                width: sketch.width(),
                height: sketch.height(),
                bytes: file.bytes.len() as u64,
            })
        });
        timed("probe", probed).await
    }

    /// Makes smaller pictures out of a picture: those of `sizes` that make it no larger, or else the smallest at the
    /// picture's own width. They go to the store under `output`, the size's suffix and the ending, once: those that are
    /// there already stay and are described.
    ///
    /// # Errors
    /// Any.
    ///
    /// # Cancel safety
    /// As [`Transformer::probe`].
    pub async fn thumbnails(
        &self,
        uri: String,
        output: String,
        sizes: Vec<Size>,
    ) -> Result<Vec<Output>, TransformError> {
        size::check(&sizes)?;
        let inner = Arc::clone(&self.inner);
        let made = self
            .inner
            .workshop
            .run(move || inner.make_thumbnails(&uri, &output, &sizes));
        timed("thumbnails", made).await
    }
}

// === impl Inner ===

impl Inner {
    fn make_thumbnails(
        &self,
        uri: &str,
        output: &str,
        sizes: &[Size],
    ) -> Result<Vec<Output>, TransformError> {
        let output = size::key_of(output)?;
        let file = self.library.read(uri)?;
        let sketch = self.library.sketch(&file.bytes)?;
        let format = Format::of(sketch.content_type());
        // Before the work, which would else be for nothing.
        for size in sizes {
            size.key(&output, format.ending())?;
        }
        let picture = sketch.decode()?;
        thumbnails::make(picture, format, sizes)?
            .into_iter()
            .map(|thumbnail| {
                let key = thumbnail.size.key(&output, format.ending())?;
                let (Put::New(object) | Put::There(object)) = self.store.put_once(&key, &thumbnail.bytes)?;
                Ok(Output {
                    role: thumbnail.size.role.clone(),
                    uri: self.store.uri(&key),
                    key,
                    content_type: thumbnail.format.mime(),
                    width: thumbnail.width,
                    height: thumbnail.height,
                    bytes: object.bytes,
                    blake3: object.blake3,
                })
            })
            .collect()
    }
}

async fn timed<T>(
    work: &'static str,
    done: impl Future<Output = Result<T, TransformError>>,
) -> Result<T, TransformError> {
    let begun = Instant::now();
    let done = done.await;
    let result = if done.is_ok() { "done" } else { "failed" };
    metrics::histogram!("transformer_seconds", "work" => work, "result" => result)
        .record(begun.elapsed().as_secs_f64());
    done
}
