use std::sync::Arc;
use std::time::Instant;

use safelight_media::{Library, MediaError};
use safelight_store::{Key, Put, Store, StoreError};
use tokio::sync::OwnedSemaphorePermit;

use crate::config::{Config, NoSandbox};
use crate::error::TransformError;
use crate::film::{Animation, Container, Film, Films};
use crate::room;
use crate::size::{self, Size};
use crate::thumbnails::{self, Format, Thumbnail};
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
    films: Films,
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
    /// Of a film, where it is known.
    pub duration_ms: Option<u64>,
}

/// What is known of a file that was opened.
enum Medium {
    Picture(Probe),
    Film(Film),
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
    /// `image/jpeg`, `image/png` or, of animations, `image/gif`.
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
    /// A transformer of the media of this library, which includes the store if uploads are to be worked on, with frames
    /// of films of at most `max_pixels`.
    ///
    /// # Errors
    /// Where a sandbox is required and none works.
    pub async fn start(
        config: &Config,
        library: Library,
        max_pixels: u64,
        store: Store,
    ) -> Result<Self, NoSandbox> {
        let films = Films::new(config.sandbox, config.film_limits(max_pixels)).await;
        Ok(Self {
            inner: Arc::new(Inner {
                library,
                store,
                workshop: Workshop::new(config.workers(), usize::from(config.queue)),
                films: films.ok_or(NoSandbox)?,
            }),
        })
    }

    /// Says what a medium is.
    ///
    /// # Errors
    /// Any but [`TransformError::Store`].
    ///
    /// # Cancel safety
    /// Dropped, it begins nothing any more; what has begun on a picture runs to its end, ffmpeg is killed.
    pub async fn probe(&self, uri: String) -> Result<Probe, TransformError> {
        let inner = &self.inner;
        let probed = async {
            let (medium, _bench) = self.open(uri).await?;
            match medium {
                Medium::Picture(probe) => Ok(probe),
                Medium::Film(film) => {
                    let info = inner.films.info(&film).await?;
                    Ok(Probe {
                        content_type: film.container.mime(),
                        width: info.width,
                        height: info.height,
                        bytes: film.bytes,
                        duration_ms: info.duration_ms,
                    })
                }
            }
        };
        timed("probe", probed).await
    }

    /// Makes a picture out of one frame of a film: the first that is not black, or the one at that time, in milliseconds
    /// from the beginning. It goes to the store under `output` and `_f.png`, once.
    ///
    /// # Errors
    /// Any.
    ///
    /// # Cancel safety
    /// As [`Transformer::probe`].
    pub async fn capture_frame(
        &self,
        uri: String,
        output: String,
        at_ms: Option<u64>,
    ) -> Result<Output, TransformError> {
        let key = size::key_of(&format!("{}_f.png", size::key_of(&output)?))?;
        let captured = async {
            let (film, _bench) = self.film(uri).await?;
            let frame = self.inner.films.frame(&film, at_ms).await?;
            self.put("frame", key, frame).await
        };
        timed("frame", captured).await
    }

    /// Makes a small moving picture out of the beginning of a film. It goes to the store under `output` and `.gif`, once.
    ///
    /// # Errors
    /// Any.
    ///
    /// # Cancel safety
    /// As [`Transformer::probe`].
    pub async fn animated_gif(
        &self,
        uri: String,
        output: String,
        asked: Animation,
    ) -> Result<Output, TransformError> {
        asked.check()?;
        let key = size::key_of(&format!("{}.gif", size::key_of(&output)?))?;
        let animated = async {
            let (film, _bench) = self.film(uri).await?;
            let moving = self.inner.films.animation(&film, asked).await?;
            self.put("animation", key, moving).await
        };
        timed("gif", animated).await
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
        let made = async {
            let inner = Arc::clone(&self.inner);
            let make = move || inner.make_thumbnails(&uri, &output, &sizes);
            let made = self.inner.workshop.run(make).await?;
            let inner = Arc::clone(&self.inner);
            // Not in the workshop, where the next picture is begun while the disk is waited for.
            let put = tokio::task::spawn_blocking(move || {
                made.into_iter()
                    .map(|(key, thumbnail)| inner.put_thumbnail(key, &thumbnail))
                    .collect()
            });
            put.await.map_err(|_| TransformError::Crashed)?
        };
        timed("thumbnails", made).await
    }

    /// Whether the store takes what is made: it is there, and there is room.
    ///
    /// # Errors
    /// Why not.
    pub async fn check_store(&self) -> Result<(), StoreError> {
        let store = self.inner.store.clone();
        let checked = tokio::task::spawn_blocking(move || room::check(&store)).await;
        checked.unwrap_or_else(|error| Err(StoreError::Unavailable(std::io::Error::other(error))))
    }

    async fn film(&self, uri: String) -> Result<(Film, OwnedSemaphorePermit), TransformError> {
        match self.open(uri).await? {
            (Medium::Film(film), bench) => Ok((film, bench)),
            (Medium::Picture(_), _) => Err(TransformError::NoFilm),
        }
    }

    /// With the place to work at: a film may be a copy that takes room on the disk, and no more of them wait than are
    /// worked on.
    async fn open(&self, uri: String) -> Result<(Medium, OwnedSemaphorePermit), TransformError> {
        let inner = Arc::clone(&self.inner);
        let workshop = &self.inner.workshop;
        let bench = workshop.bench().await?;
        workshop.at(bench, move || inner.open(&uri)).await
    }

    /// Puts a picture into the store that something else has encoded.
    async fn put(&self, role: &'static str, key: Key, bytes: Vec<u8>) -> Result<Output, TransformError> {
        let inner = Arc::clone(&self.inner);
        // Not in the workshop, where there is a place for this call already.
        let put = tokio::task::spawn_blocking(move || {
            let sketch = inner.library.sketch(&bytes)?;
            let (content_type, width, height) =
                (sketch.content_type().mime(), sketch.width(), sketch.height());
            inner.put(role, key, content_type, (width, height), &bytes)
        });
        put.await.map_err(|_| TransformError::Crashed)?
    }
}

// === impl Inner ===

impl Inner {
    /// Opens a file and tells by its first bytes what it is.
    fn open(&self, uri: &str) -> Result<Medium, TransformError> {
        let mut medium = self.library.open(uri)?;
        let bytes = medium.size();
        if let Some(container) = Container::of(medium.first(Container::MAGIC_BYTES)?) {
            self.films.check_size(bytes)?;
            return Ok(Medium::Film(Film {
                file: medium.into_file()?,
                container,
                bytes,
            }));
        }
        let file = self.library.read_open(medium)?;
        let sketch = self.library.sketch(&file.bytes).map_err(|error| match error {
            MediaError::NotAPicture => TransformError::NoMedium,
            error => error.into(),
        })?;
        Ok(Medium::Picture(Probe {
            content_type: sketch.content_type().mime(),
            width: sketch.width(),
            height: sketch.height(),
            bytes: file.bytes.len() as u64,
            duration_ms: None,
        }))
    }

    fn make_thumbnails(
        &self,
        uri: &str,
        output: &str,
        sizes: &[Size],
    ) -> Result<Vec<(Key, Thumbnail)>, TransformError> {
        let output = size::key_of(output)?;
        let file = self.library.read(uri)?;
        let sketch = self.library.sketch(&file.bytes)?;
        let format = Format::of(sketch.content_type());
        // Before the work, which would else be for nothing.
        for size in sizes {
            size.key(&output, format.ending())?;
        }
        let whole = (sketch.width(), sketch.height());
        let fitting = size::fitting(sizes, whole.0);
        let widest = fitting.iter().map(|(_, width)| *width).max();
        let draft = sketch.draft(widest.unwrap_or(whole.0))?;
        thumbnails::make(draft, whole, format, fitting)?
            .into_iter()
            .map(|thumbnail| Ok((thumbnail.size.key(&output, format.ending())?, thumbnail)))
            .collect()
    }

    fn put_thumbnail(&self, key: Key, thumbnail: &Thumbnail) -> Result<Output, TransformError> {
        let size = (thumbnail.width, thumbnail.height);
        let content_type = thumbnail.format.mime();
        self.put(&thumbnail.size.role, key, content_type, size, &thumbnail.bytes)
    }

    fn put(
        &self,
        role: &str,
        key: Key,
        content_type: &'static str,
        size: (u32, u32),
        bytes: &[u8],
    ) -> Result<Output, TransformError> {
        let (object, content_type, (width, height)) = match self.store.put_once(&key, bytes)? {
            Put::New(object) => (object, content_type, size),
            Put::There(object) => {
                // It may have been made out of something else, or for somebody who asked for something else.
                let there = self.store.read(&key, object.bytes)?;
                let there = self.library.sketch(&there)?;
                let size = (there.width(), there.height());
                (object, there.content_type().mime(), size)
            }
        };
        Ok(Output {
            role: role.to_owned(),
            uri: self.store.uri(&key),
            key,
            content_type,
            width,
            height,
            bytes: object.bytes,
            blake3: object.blake3,
        })
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
