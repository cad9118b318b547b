use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use safelight_media::{ConfigError, Library, MediaError};
use safelight_service::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::gallery::{Gallery, KnownFace, Origin};
use crate::person_name;
use crate::sample::{Rejection, Sample, SampleEncoder};

/// How long the folder must be quiet before a hint is followed: files come in several writes, and in heaps.
const QUIET: Duration = Duration::from_millis(200);

/// How often a long look is told of.
const PROGRESS: Duration = Duration::from_secs(10);

/// Other files may lie in the folder; only these are looked at. What they hold is judged by their bytes.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jpe"];

/// The folder of known people: files named `ann_1.jpg`, `ann_2.jpg`, `bob.png`.
///
/// The file system's notifications are a hint to look soon. What is known follows from looking at the whole
/// folder, which is done on a timer too, since network file systems send none and any may drop some.
pub(crate) struct Folder {
    path: PathBuf,
    library: Library,
    encoder: SampleEncoder,
    gallery: Arc<Gallery>,
    /// By file name; what was made of the file when it last looked as it does.
    seen: HashMap<String, Seen>,
    /// Of the last look, so that it is told once and not at every look.
    unreadable: Option<String>,
    /// Whether the gallery knows the folder already.
    published: bool,
    jobs: usize,
}

/// What was made of a file.
struct Seen {
    /// As it was when it was last looked into.
    stamp: Stamp,
    standing: Standing,
    /// Who it shows, or showed before it was changed to what cannot be judged yet.
    sample: Option<Box<Sample>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Looked into, and no need to do so again before it changes.
    Judged,
    /// Cannot be decoded, at its first look: it may still be being written. Looked into once more.
    Unsettled,
    /// The storage failed. Looked into again each time.
    Unread,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: (i64, i64),
    inode: u64,
}

// === impl Folder ===

impl Folder {
    pub(crate) fn new(
        path: PathBuf,
        encoder: SampleEncoder,
        gallery: Arc<Gallery>,
        jobs: usize,
    ) -> Result<Self, ConfigError> {
        let library = encoder.analyzer.library.of_folder(path.clone())?;
        Ok(Self {
            path,
            library,
            encoder,
            gallery,
            seen: HashMap::new(),
            unreadable: None,
            published: false,
            jobs,
        })
    }

    /// Looks at the folder until the end; sets `loaded` when it was looked at for the first time.
    pub(crate) async fn run(mut self, every: Duration, loaded: watch::Sender<bool>, end: Shutdown) {
        let (hint, mut hints) = mpsc::channel(1);
        let mut watcher = None;
        loop {
            // The folder may come later than the program, so watching is tried until it works.
            watcher = watcher.or_else(|| watch(&self.path, hint.clone()));
            let look = async {
                if self.look().await {
                    loaded.send_replace(true);
                }
                wait_for_hint(&mut hints, every).await;
            };
            tokio::select! {
                () = look => {}
                () = end.triggered() => return,
            }
        }
    }

    /// Brings the gallery to what lies in the folder. False where that could not be found out.
    async fn look(&mut self) -> bool {
        let begun = Instant::now();
        let path = self.path.clone();
        let listed = tokio::task::spawn_blocking(move || list(&path)).await;
        let files = match listed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(files) => files,
            Err(error) => {
                self.tell_unreadable(error.to_string());
                return false;
            }
        };
        if self.unreadable.take().is_some() {
            tracing::info!(folder = ?self.path, "the known people can be read again");
        }
        let before = self.seen.len();
        self.seen.retain(|name, _| files.contains_key(name));
        let forgotten = before - self.seen.len();
        let encoded = self.encode_changed(files).await;
        let first = !std::mem::replace(&mut self.published, true);
        if first || forgotten > 0 || encoded > 0 {
            self.publish();
            let (samples, files) = (self.samples().count(), self.seen.len());
            let seconds = begun.elapsed().as_secs_f64();
            tracing::info!(
                samples,
                files,
                encoded,
                forgotten,
                seconds,
                "known people changed"
            );
        }
        true
    }

    /// Looks into the files that are new or changed, a few at a time. Returns how many now show somebody
    /// else than before.
    async fn encode_changed(&mut self, files: HashMap<String, Stamp>) -> usize {
        let is_due = |(name, stamp): &(String, Stamp)| {
            let seen = self.seen.get(name);
            seen.is_none_or(|seen| seen.stamp != *stamp || seen.standing != Standing::Judged)
        };
        let changed: Vec<_> = files.into_iter().filter(is_due).collect();
        let count = changed.len();
        let mut waiting = changed.into_iter();
        let mut running = JoinSet::new();
        let mut encoded = 0;
        let mut told = Instant::now();
        loop {
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                let done = count - waiting.len() - running.len();
                tracing::info!(done, of = count, "looking at known people");
            }
            while running.len() < self.jobs
                && let Some((name, stamp)) = waiting.next()
            {
                running.spawn(read_and_encode(
                    self.library.clone(),
                    self.encoder.clone(),
                    self.path.join(&name),
                    name,
                    stamp,
                ));
            }
            match running.join_next().await {
                Some(Ok((name, stamp, found))) => encoded += usize::from(self.settle(name, stamp, found)),
                Some(Err(error)) => tracing::error!(%error, "a look at a known person ended early"),
                None => return encoded,
            }
        }
    }

    /// Notes what was found in a file. True where it now shows somebody else than before.
    fn settle(&mut self, name: String, stamp: Stamp, found: Found) -> bool {
        let before = self.seen.remove(&name);
        let first_look = before.as_ref().is_none_or(|seen| seen.stamp != stamp);
        let known = before.and_then(|seen| seen.sample);
        let (standing, sample) = match found {
            Found::Sample(sample) => (Standing::Judged, Some(sample)),
            Found::Rejected(Rejection::NotDecoded(_)) if first_look => (Standing::Unsettled, known.clone()),
            Found::Rejected(reason) => {
                tracing::warn!(file = name, %reason, "skipped a picture of a known person");
                (Standing::Judged, None)
            }
            Found::Unread(reason) => {
                if first_look {
                    tracing::warn!(
                        file = name,
                        reason,
                        "a picture of a known person could not be read yet"
                    );
                }
                (Standing::Unread, known.clone())
            }
        };
        let changed = sample != known;
        let seen = Seen {
            stamp,
            standing,
            sample,
        };
        self.seen.insert(name, seen);
        changed
    }

    fn publish(&self) {
        let faces = self.samples().map(|(name, sample)| KnownFace {
            person: person_name::of_file(name).into(),
            image_name: name.as_str().into(),
            descriptor: sample.descriptor,
        });
        let mut faces: Vec<KnownFace> = faces.collect();
        faces.sort_by(|a, b| a.image_name.cmp(&b.image_name));
        self.gallery.replace(Origin::Folder, faces);
    }

    fn samples(&self) -> impl Iterator<Item = (&String, &Sample)> {
        let all = self.seen.iter();
        all.filter_map(|(name, seen)| Some((name, seen.sample.as_deref()?)))
    }

    fn tell_unreadable(&mut self, reason: String) {
        if self.unreadable.as_ref() != Some(&reason) {
            tracing::warn!(folder = ?self.path, reason, "KNOWN_PEOPLE cannot be read; keeping who is known");
            self.unreadable = Some(reason);
        }
    }
}

enum Found {
    Sample(Box<Sample>),
    Rejected(Rejection),
    Unread(String),
}

async fn read_and_encode(
    library: Library,
    encoder: SampleEncoder,
    path: PathBuf,
    name: String,
    stamp: Stamp,
) -> (String, Stamp, Found) {
    let uri = path.to_string_lossy().into_owned();
    let read = tokio::task::spawn_blocking(move || library.read(&uri)).await;
    let found = match read {
        Ok(Ok(file)) => match encoder.encode(file.bytes).await {
            Ok((_, Ok(sample))) => Found::Sample(Box::new(sample)),
            Ok((_, Err(rejection))) => Found::Rejected(rejection),
            Err(error) => Found::Unread(error.to_string()),
        },
        Ok(Err(error @ (MediaError::Unreadable(_) | MediaError::Missing))) => {
            Found::Unread(error.to_string())
        }
        Ok(Err(error)) => Found::Rejected(Rejection::NotDecoded(error.to_string())),
        Err(error) => Found::Unread(error.to_string()),
    };
    (name, stamp, found)
}

fn list(folder: &Path) -> io::Result<HashMap<String, Stamp>> {
    let mut files = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            tracing::debug!(file = ?entry.file_name(), "passed over a name that is not UTF-8");
            continue;
        };
        if !is_picture_name(&name) {
            continue;
        }
        // Follows links, as mounted config maps have; the library decides where they may lead.
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_file() => {
                files.insert(name, Stamp::of(&metadata));
            }
            Ok(_) => {}
            // Removed between the two calls, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

fn is_picture_name(name: &str) -> bool {
    let extension = name
        .rsplit_once('.')
        .map(|(stem, extension)| (stem, extension.to_ascii_lowercase()));
    extension.is_some_and(|(stem, extension)| {
        !stem.is_empty() && !name.starts_with('.') && EXTENSIONS.contains(&extension.as_str())
    })
}

// === impl Stamp ===

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }
}

/// Watches the folder while the watcher lives. `None` where that is not possible (yet).
fn watch(folder: &Path, hint: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading the files makes events of its own.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Full means that a hint is waiting already.
            let _ = hint.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(on_event).ok()?;
    match watcher.watch(folder, RecursiveMode::NonRecursive) {
        Ok(()) => Some(watcher),
        Err(error) => {
            tracing::debug!(%error, "the folder of known people cannot be watched, only looked at");
            None
        }
    }
}

/// Returns after `every`, or when there was a hint and then quiet for a while.
async fn wait_for_hint(hints: &mut mpsc::Receiver<()>, every: Duration) {
    if tokio::time::timeout(every, hints.recv()).await.is_err() {
        return;
    }
    let latest = tokio::time::Instant::now() + every;
    let quiet = async { while let Ok(Some(())) = tokio::time::timeout(QUIET, hints.recv()).await {} };
    // In a folder that is never quiet the timer still counts.
    let _ = tokio::time::timeout_at(latest, quiet).await;
}
