use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Database, Error};
use safelight_service::Shutdown;
use tokio::sync::{Mutex, watch};

use crate::descriptor::Descriptor;
use crate::gallery::{Gallery, KnownFace, Origin};
use crate::models::{MODEL_NAME, MODEL_VERSION};
use crate::sample::{ContentHash, SampleEncoder};

/// The people whom the database knows.
///
/// The database has a version that changes with them, so that asking often is cheap. Samples that another
/// model described are described again from their pictures, as long as these can still be opened.
pub(crate) struct EnrolledPeople {
    database: Database,
    encoder: SampleEncoder,
    gallery: Arc<Gallery>,
    loaded: Mutex<LoadedPeople>,
}

#[derive(Default)]
struct LoadedPeople {
    version: Option<i64>,
    /// What was made of samples of other models; `None` where that was not possible, as was told.
    described_again: HashMap<ContentHash, Option<Descriptor>>,
}

// === impl EnrolledPeople ===

impl EnrolledPeople {
    pub(crate) fn new(database: Database, encoder: SampleEncoder, gallery: Arc<Gallery>) -> Self {
        Self {
            database,
            encoder,
            gallery,
            loaded: Mutex::default(),
        }
    }

    /// Follows the database until the end; sets `loaded` when everybody was read for the first time.
    pub(crate) async fn run(self: Arc<Self>, every: Duration, loaded: watch::Sender<bool>, end: Shutdown) {
        let mut away = false;
        loop {
            let asked = tokio::select! {
                asked = self.follow() => asked,
                () = end.triggered() => return,
            };
            match asked {
                Ok(()) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("the database answers again");
                    }
                    loaded.send_replace(true);
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "people cannot be read; keeping who is known");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = end.triggered() => return,
            }
        }
    }

    pub(crate) async fn enroll(
        &self,
        name: &str,
        image_name: &str,
        hash: ContentHash,
        descriptor: &Descriptor,
        uri: &str,
    ) -> Result<(), Error> {
        let numbers = Some(descriptor.0.as_slice());
        let people = self.database.people();
        people
            .enroll(
                name,
                image_name,
                hash,
                numbers,
                MODEL_NAME,
                MODEL_VERSION,
                Some(uri),
            )
            .await?;
        self.follow().await
    }

    /// How many samples were forgotten; 0 where the database knows nobody of this name.
    pub(crate) async fn forget(&self, name: &str) -> Result<u32, Error> {
        let forgotten = match self.database.people().forget(name).await {
            Ok(forgotten) => forgotten,
            Err(Error::NotFound) => return Ok(0),
            Err(error) => return Err(error),
        };
        self.follow().await?;
        Ok(forgotten)
    }

    /// Brings the gallery to what the database has, if that changed.
    async fn follow(&self) -> Result<(), Error> {
        let mut loaded = self.loaded.lock().await;
        // Read before the people: should they change in between, the next look reads them again.
        let version = self.database.people().version().await?;
        if loaded.version == Some(version) {
            return Ok(());
        }
        let people = self.database.people().list().await?;
        let mut faces = Vec::new();
        for person in people {
            let name: Arc<str> = person.name.into();
            for sample in person.samples {
                let ours = sample.model == MODEL_NAME && sample.model_version == MODEL_VERSION;
                let stored = sample
                    .descriptor
                    .as_deref()
                    .filter(|_| ours)
                    .and_then(Descriptor::from_slice);
                let descriptor = match stored {
                    Some(descriptor) => Some(descriptor),
                    None => {
                        let picture = (sample.content_hash, sample.uri.as_deref(), &*sample.image_name);
                        self.describe_again(&mut loaded, picture).await
                    }
                };
                faces.extend(descriptor.map(|descriptor| KnownFace {
                    person: Arc::clone(&name),
                    image_name: sample.image_name.into(),
                    descriptor,
                }));
            }
        }
        tracing::info!(samples = faces.len(), version, "read the people of the database");
        self.gallery.replace(Origin::Database, faces);
        loaded.version = Some(version);
        Ok(())
    }

    async fn describe_again(
        &self,
        loaded: &mut LoadedPeople,
        (hash, uri, image_name): (ContentHash, Option<&str>, &str),
    ) -> Option<Descriptor> {
        if let Some(known) = loaded.described_again.get(&hash) {
            return *known;
        }
        let described = match uri {
            Some(uri) => self.describe(hash, uri).await,
            None => Err("it was described by another model, and its picture was not kept".to_owned()),
        };
        if let Err(reason) = &described {
            tracing::warn!(image_name, reason, "left out a sample of a person");
        }
        let described = described.ok();
        loaded.described_again.insert(hash, described);
        described
    }

    async fn describe(&self, hash: ContentHash, uri: &str) -> Result<Descriptor, String> {
        let (library, uri) = (self.encoder.analyzer.library.clone(), uri.to_owned());
        let read = tokio::task::spawn_blocking(move || library.read(&uri)).await;
        let file = read
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        let (found, sample) = self
            .encoder
            .encode(file.bytes)
            .await
            .map_err(|error| error.to_string())?;
        if found != hash {
            return Err("its picture was changed since".to_owned());
        }
        sample
            .map(|sample| sample.descriptor)
            .map_err(|rejection| rejection.to_string())
    }
}
