use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use safelight_database::Database;
use safelight_media::{Library, MediaError};
use safelight_service::Shutdown;
use thiserror::Error;
use tokio::sync::watch;

use crate::analysis::{Analysis, AnalyzeError, Bounds};
use crate::blas;
use crate::budget::Budget;
use crate::config::{Config, StartError};
use crate::engine::Engine;
use crate::enrolled::EnrolledPeople;
use crate::folder::Folder;
use crate::gallery::{Gallery, Match, Origin};
use crate::models::Models;
use crate::person_name;
use crate::pool::{Admission, Pool};
use crate::sample::{Analyzer, Rejection, SampleEncoder};
use crate::sample_cache::SampleCache;
use crate::state::State;

/// Recognizes faces. Cheap to clone; every clone is the same. When the last one is dropped its threads and
/// tasks end.
#[derive(Clone)]
pub struct Recognizer {
    inner: Arc<Inner>,
}

struct Inner {
    analyzer: Analyzer,
    gallery: Arc<Gallery>,
    enrolled: Option<Arc<EnrolledPeople>>,
    state: watch::Sender<State>,
    tolerance: f32,
    in_progress: AtomicUsize,
    background: Shutdown,
}

/// A known person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Their name.
    pub name: String,
    /// The file names of their pictures, in order.
    pub image_names: Vec<String>,
}

/// A person who was enrolled, and where their face is in the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The person with all their pictures.
    pub person: Known,
    /// The face, in pixels of the upright picture.
    pub bounds: Bounds,
}

/// Why nobody was enrolled.
#[derive(Debug, Error)]
pub enum EnrollError {
    /// The name cannot be a person's.
    #[error("{0}")]
    Name(&'static str),
    /// The picture could not be analyzed.
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// The picture has no face, or several.
    #[error("the picture cannot be a sample of a person: {0}")]
    NotOneFace(String),
    /// There is no database to keep people in.
    #[error("no database is configured to keep people in; put the picture into KNOWN_PEOPLE instead")]
    NoDatabase,
    /// The database did not take it.
    #[error("the database did not answer as it should: {0}")]
    Database(#[from] safelight_database::Error),
}

/// Why nobody was forgotten.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// Nobody of this name is known.
    #[error("nobody of this name is known")]
    Unknown,
    /// Known from the folder only, which is not ours to delete from.
    #[error("this person is known from files in KNOWN_PEOPLE; remove these files")]
    InFolder,
    /// The database did not do it.
    #[error("the database did not answer as it should: {0}")]
    Database(#[from] safelight_database::Error),
}

// === impl Recognizer ===

impl Recognizer {
    /// Checks the configuration and the model files, and starts to load them and the known people; watch
    /// [`Recognizer::state`] for when that is done. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the configuration or the model files cannot be used. Known people that cannot be read yet are
    /// no error: it keeps [`State::Loading`] until they can, since without them it would answer wrongly.
    pub fn start(config: Config, library: Library, database: Option<Database>) -> Result<Self, StartError> {
        blas::compute_in_the_calling_thread();
        let models = Models::find(&config.models_dir)?;
        let size = config.working_size()?;
        let workers = config.workers();
        let max_faces = usize::from(config.max_faces);
        let pool = Pool::start(workers, usize::from(config.queue), move || {
            Engine::load(&models, size, max_faces)
        });
        let pool = Arc::new(pool.map_err(StartError::Threads)?);
        let budget = Budget::new(u64::from(config.decode_memory) << 20);
        let analyzer = Analyzer {
            pool,
            library,
            budget,
        };
        let cache = SampleCache::new(config.cache_dir(), size);
        let encoder = SampleEncoder {
            analyzer: analyzer.clone(),
            cache,
        };
        let gallery = Arc::new(Gallery::default());
        let background = Shutdown::new();

        let mut loading = Vec::new();
        if let Some(path) = config.known_people {
            let folder = Folder::new(absolute(path), encoder.clone(), Arc::clone(&gallery), workers)?;
            let (loaded, waiting) = watch::channel(false);
            tokio::spawn(folder.run(config.rescan, loaded, background.clone()));
            loading.push(waiting);
        }
        let enrolled =
            database.map(|database| Arc::new(EnrolledPeople::new(database, encoder, Arc::clone(&gallery))));
        if let Some(enrolled) = &enrolled {
            let (loaded, waiting) = watch::channel(false);
            tokio::spawn(Arc::clone(enrolled).run(config.poll, loaded, background.clone()));
            loading.push(waiting);
        }
        let state = watch::Sender::new(State::Loading);
        tokio::spawn(report_loaded(Arc::clone(&analyzer.pool), loading, state.clone()));
        let tolerance = config.tolerance;
        let inner = Inner {
            analyzer,
            gallery,
            enrolled,
            state,
            tolerance,
            in_progress: AtomicUsize::new(0),
            background,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// What it is doing, now and from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        self.inner.state.subscribe()
    }

    /// Waits until it serves. Cancel safe.
    ///
    /// # Errors
    /// The reason, where it never will.
    pub async fn serving(&self) -> Result<(), String> {
        let mut state = self.state();
        match state.wait_for(|state| *state != State::Loading).await.as_deref() {
            Ok(State::Serving) => Ok(()),
            Ok(State::Failed(reason)) => Err(reason.clone()),
            _ => Err("the recognizer is stopping".to_owned()),
        }
    }

    /// Takes nothing new from now on; what was taken is finished.
    pub fn stop(&self) {
        self.inner.state.send_replace(State::Stopping);
    }

    /// The faces in a picture.
    ///
    /// Cancel safe: when the future is dropped, work that has not begun never begins, and work that has is
    /// given up at its next step.
    ///
    /// # Errors
    /// See [`AnalyzeError`].
    pub async fn analyze(&self, uri: &str) -> Result<Analysis, AnalyzeError> {
        self.check_serving()?;
        let _taken = InProgress::begin(&self.inner.in_progress);
        self.inner.analyzer.open(uri.to_owned(), Admission::OrBusy).await
    }

    /// How many pictures were taken by [`Recognizer::analyze`] and are not finished: those that are worked on
    /// and those that wait.
    pub fn in_progress(&self) -> usize {
        self.inner.in_progress.load(Ordering::Relaxed)
    }

    /// For each face the nearest known person, if one is near enough.
    pub fn matches(&self, analysis: &Analysis) -> Vec<Option<Match>> {
        let known = self.inner.gallery.snapshot();
        let faces = analysis.faces.iter();
        faces
            .map(|face| known.nearest(&face.descriptor, self.inner.tolerance))
            .collect()
    }

    /// Makes a picture with exactly one face a sample of a person, and of the gallery before it returns. The
    /// same picture of the same person again changes nothing.
    ///
    /// # Errors
    /// See [`EnrollError`].
    pub async fn enroll(&self, name: &str, uri: &str) -> Result<Enrolled, EnrollError> {
        let name = person_name::checked(name).map_err(EnrollError::Name)?;
        self.check_serving()?;
        let enrolled = self.inner.enrolled.as_ref().ok_or(EnrollError::NoDatabase)?;
        let (library, wanted) = (self.inner.analyzer.library.clone(), uri.to_owned());
        let read = tokio::task::spawn_blocking(move || {
            let file = library.read(&wanted)?;
            let hash = *blake3::hash(&file.bytes).as_bytes();
            Ok::<_, MediaError>((file, hash))
        });
        let (file, hash) = read
            .await
            .map_err(|_| AnalyzeError::Crashed)?
            .map_err(AnalyzeError::Media)?;
        let analysis = self
            .inner
            .analyzer
            .analyze(file.bytes.into(), Admission::OrBusy)
            .await?;
        let sample = Rejection::judge(&analysis)
            .map_err(|rejection| EnrollError::NotOneFace(rejection.to_string()))?;
        enrolled
            .enroll(name, &file.file_name, hash, &sample.descriptor, uri)
            .await?;
        let known = self.people().into_iter().find(|known| known.name == name);
        let only_this = || Known {
            name: name.to_owned(),
            image_names: vec![file.file_name.clone()],
        };
        Ok(Enrolled {
            person: known.unwrap_or_else(only_this),
            bounds: sample.bounds,
        })
    }

    /// Everybody who is known, by name.
    pub fn people(&self) -> Vec<Known> {
        let people = self.inner.gallery.snapshot().people();
        let known = people.into_iter().map(|(name, pictures)| Known {
            name: name.to_string(),
            image_names: pictures.iter().map(ToString::to_string).collect(),
        });
        known.collect()
    }

    /// Forgets a person whom the database knows, and returns how many samples of theirs.
    ///
    /// # Errors
    /// See [`ForgetError`].
    pub async fn forget(&self, name: &str) -> Result<u32, ForgetError> {
        let name = name.trim();
        if let Some(enrolled) = &self.inner.enrolled {
            let forgotten = enrolled.forget(name).await?;
            if forgotten > 0 {
                return Ok(forgotten);
            }
        }
        if self.inner.gallery.snapshot().has(name, Origin::Folder) {
            return Err(ForgetError::InFolder);
        }
        Err(ForgetError::Unknown)
    }

    fn check_serving(&self) -> Result<(), AnalyzeError> {
        match &*self.inner.state.borrow() {
            State::Serving => Ok(()),
            State::Loading => Err(AnalyzeError::NotServing("it is loading models and known people")),
            State::Failed(_) => Err(AnalyzeError::NotServing("its models could not be loaded")),
            State::Stopping => Err(AnalyzeError::NotServing("it is stopping")),
        }
    }
}

/// The folder as it was meant when the program started, wherever it goes later.
fn absolute(path: std::path::PathBuf) -> std::path::PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

async fn report_loaded(
    pool: Arc<Pool<Engine>>,
    mut loading: Vec<watch::Receiver<bool>>,
    state: watch::Sender<State>,
) {
    let loaded = async {
        pool.loaded().await?;
        for source in &mut loading {
            let ended = |_| "a source of known people ended".to_owned();
            source.wait_for(|loaded| *loaded).await.map_err(ended)?;
        }
        Ok(())
    };
    let next = match loaded.await {
        Ok(()) => State::Serving,
        Err(reason) => State::Failed(reason),
    };
    state.send_if_modified(|state| {
        let loading = *state == State::Loading;
        if loading {
            tracing::info!(state = ?next, "loaded models and known people");
            *state = next;
        }
        loading
    });
}

/// Counts one picture while it lives.
struct InProgress<'a>(&'a AtomicUsize);

// === impl InProgress ===

impl<'a> InProgress<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Inner ===

impl Drop for Inner {
    fn drop(&mut self) {
        self.background.trigger();
    }
}
