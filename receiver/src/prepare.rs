//! `POST /prepare`: a file is streamed into the store and recorded, and who sent it is told when it is prepared.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use safelight_database::{Accepted, Database, Images, NewUpload, Uploads};
use safelight_service::Problem;
use safelight_store::{Key, Store};
use serde::Deserialize;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::accept::tell;
use crate::following::Following;
use crate::form::{AROUND, Form, FormError, Part};
use crate::landing::Landing;
use crate::object_key::{new_key, shown_name};
use crate::post::{Taken, count_refused};
use crate::turned::{Turned, free};
use crate::upload_key::{HELD_FOR, Holding, UploadKey};
use crate::{Limits, UploadLimits, body, problems};

/// The part of the form that is the file.
const FILE_PART: &str = "data";
/// What the database keeps of a project's name, in bytes.
const LONGEST_PROJECT: usize = 255;
/// No film is longer, in milliseconds.
const LATEST_FRAME: f64 = 1e9;

/// What `POST /prepare` may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    email: Option<String>,
    webhook: Option<String>,
    project: Option<String>,
    /// The time of the frame that is wanted of a film, in seconds.
    at: Option<f64>,
}

/// Where uploads are taken in.
#[derive(Clone)]
pub(crate) struct Desk {
    store: Option<Store>,
    images: Images,
    uploads: Uploads,
    committed: Arc<Notify>,
    limits: UploadLimits,
    webhook_http: bool,
    /// Those that are taken and those that wait for that.
    places: Arc<Semaphore>,
    slots: Arc<Semaphore>,
}

/// An upload that may be read.
struct Job {
    store: Store,
    following: Following,
    project: Option<String>,
    at_ms: Option<u64>,
    boundary: String,
    upload_key: Option<UploadKey>,
    until: Instant,
    slot: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

/// A file that came in whole and is not yet in its place.
struct Arrived {
    key: Key,
    landing: Landing,
    name: Option<String>,
    bytes: u64,
    holding: Option<Holding>,
}

/// Records the file of a form: 202 with the new record, or 200 with the one that exists under the sender's key.
pub(crate) async fn prepare(
    State(desk): State<Desk>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Problem> {
    let length = body.size_hint().lower();
    let job = match desk.admit(wanted, &headers, length).await {
        Ok(job) => job,
        Err(turned) => {
            // A sender that asked first has sent nothing, and is not to be told to.
            if !headers.contains_key(header::EXPECT) {
                body::discard(body).await;
            }
            return desk.turn(turned);
        }
    };
    let mut begun = None;
    let reading = timeout_at(job.until, desk.read(&job, &mut body, &mut begun));
    let arrived = match reading.await {
        Ok(arrived) => arrived,
        Err(_) => Err(problems::upload_late(desk.limits.seconds.into()).into()),
    };
    let arrived = match arrived {
        Ok(arrived) => arrived,
        Err(turned) => {
            if let Some(key) = begun {
                desk.forget(&key).await;
            }
            body::discard(body).await;
            return desk.turn(turned);
        }
    };
    // In a task of its own: what came in whole is recorded, although its sender may not wait for the answer.
    let recording = tokio::spawn(async move { desk.record(job, arrived).await });
    let accepted = recording.await.map_err(|error| {
        tracing::error!(%error, "recording an upload failed");
        problems::internal()
    })??;
    Ok(answer(accepted))
}

fn answer(accepted: Accepted) -> Response {
    let status = if accepted.duplicate {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    (status, Json(Taken::from(accepted))).into_response()
}

// === impl Desk ===

impl Desk {
    pub(crate) fn new(
        database: &Database,
        store: Option<Store>,
        committed: &Arc<Notify>,
        limits: &Limits,
    ) -> Self {
        let slots = limits.uploads.slots(store.as_ref());
        let places = slots + limits.uploads.waiting as usize;
        Self {
            store,
            images: database.images(),
            uploads: database.uploads(),
            committed: Arc::clone(committed),
            limits: limits.uploads.clone(),
            webhook_http: limits.webhook_http,
            places: Arc::new(Semaphore::new(places)),
            slots: Arc::new(Semaphore::new(slots)),
        }
    }

    /// Checks what can be known before the body is read, and waits for a slot.
    async fn admit(
        &self,
        wanted: Result<Query<Wanted>, QueryRejection>,
        headers: &HeaderMap,
        length: u64,
    ) -> Result<Job, Turned> {
        let Some(store) = self.store.clone() else {
            return Err(problems::store_not_set().into());
        };
        let Query(wanted) = wanted.map_err(|error| problems::query_wrong(&error.body_text()))?;
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (email, webhook) = (given(wanted.email), given(wanted.webhook));
        let following = Following::parse(email.as_deref(), webhook.as_deref(), self.webhook_http)?;
        if following.is_nobody() {
            return Err(problems::address_missing().into());
        }
        let project = given(wanted.project);
        if project
            .as_ref()
            .is_some_and(|project| project.len() > LONGEST_PROJECT)
        {
            let detail = format!("project: its name is longer than {LONGEST_PROJECT} bytes");
            return Err(problems::query_wrong(&detail).into());
        }
        let at_ms = wanted.at.map(milliseconds).transpose()?;
        let kind = headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let boundary =
            multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| problems::not_a_form())?;
        if length > self.limits.bytes.saturating_add(AROUND) {
            return Err(problems::upload_too_large(self.limits.bytes).into());
        }

        let upload_key = UploadKey::of(headers)?;
        if let Some(upload_key) = &upload_key {
            let under = self.uploads.under(upload_key.as_str()).await;
            free(under.map_err(|error| problems::database_failed_upload(&error, false))?)?;
        }

        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Err(problems::overloaded().into());
        };
        // Until then nothing of the body is read, and the network holds its sender back.
        let until = Instant::now() + self.limits.time();
        match timeout_at(until, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(Job {
                store,
                following,
                project,
                at_ms,
                boundary,
                upload_key,
                until,
                slot: (place, slot),
            }),
            Ok(Err(_)) => unreachable!("this semaphore is never closed"),
            Err(_) => Err(problems::overloaded().into()),
        }
    }

    /// Streams the file into the store. What was written down of it before the first byte is left in `begun`.
    async fn read(&self, job: &Job, body: &mut Body, begun: &mut Option<Key>) -> Result<Arrived, Turned> {
        let stall = self.limits.stall();
        let most = self.limits.bytes;
        let mut form = Form::new(body, &job.boundary, FILE_PART, most);
        let mut arrived = None;
        while let Some(mut part) = in_time(stall, form.next())
            .await?
            .map_err(|error| self.refuse(error))?
        {
            if part.name() != Some(FILE_PART) {
                while self.chunk(&mut part).await?.is_some() {}
                continue;
            }
            if arrived.is_some() {
                return Err(problems::files_many().into());
            }
            let key = new_key(part.file_name());
            let name = part.file_name().and_then(shown_name);
            let holding = self.begin(&key, job.upload_key.as_ref()).await?;
            *begun = Some(key.clone());
            let landing = Landing::begin(&job.store, &key, most).await;
            let mut landing = landing.map_err(|error| problems::store_failed(&error, most))?;
            let mut bytes = 0;
            while let Some(chunk) = self.chunk(&mut part).await? {
                bytes += chunk.len() as u64;
                let written = landing.write(&chunk).await;
                written.map_err(|error| problems::store_failed(&error, most))?;
            }
            if bytes == 0 {
                return Err(problems::file_empty().into());
            }
            arrived = Some(Arrived {
                key,
                landing,
                name,
                bytes,
                holding,
            });
        }
        arrived.ok_or_else(|| problems::file_missing().into())
    }

    /// Writes down that an object is on its way, before its first byte.
    async fn begin(&self, key: &Key, upload_key: Option<&UploadKey>) -> Result<Option<Holding>, Turned> {
        let away = |error| problems::database_failed_upload(&error, false);
        let Some(upload_key) = upload_key else {
            self.uploads.begin(key.as_str()).await.map_err(away)?;
            return Ok(None);
        };
        let begun = self
            .uploads
            .begin_under(upload_key.as_str(), key.as_str(), HELD_FOR);
        free(begun.await.map_err(away)?)?;
        Ok(Some(Holding::start(self.uploads.clone(), upload_key, key)))
    }

    async fn chunk(&self, part: &mut Part<'_>) -> Result<Option<bytes::Bytes>, Problem> {
        let chunk = in_time(self.limits.stall(), part.chunk()).await?;
        chunk.map_err(|error| self.refuse(error))
    }

    /// Puts the object in its place and records it. What fails here is left to the sweep: whether the object is there,
    /// or was recorded, need not be known.
    async fn record(&self, job: Job, arrived: Arrived) -> Result<Accepted, Problem> {
        let most = self.limits.bytes;
        let finished = arrived.landing.finish().await;
        let object = finished.map_err(|error| problems::store_failed(&error, most))?;
        debug_assert_eq!(object.bytes, arrived.bytes, "what came is what was written");
        let batch = job.following.batch(job.project.as_deref());
        let upload = NewUpload {
            path: job.store.uri(&arrived.key),
            key: arrived.key.to_string(),
            name: arrived.name,
            bytes: object.bytes,
            project: job.project,
            at_ms: job.at_ms,
            idempotency_key: job.upload_key.map(|upload_key| upload_key.to_string()),
        };
        let accepted = self.images.accept_upload(&batch, &upload).await;
        let accepted = accepted.map_err(|error| problems::database_failed_upload(&error, true))?;
        drop(arrived.holding);
        if accepted.path != upload.path {
            self.remove(job.store, arrived.key).await;
        }
        tell(std::slice::from_ref(&accepted), &self.committed);
        metrics::counter!("safelight_receiver_upload_bytes_total").increment(object.bytes);
        drop(job.slot);
        Ok(accepted)
    }

    /// Forgets an upload of which nothing came into the store. Where that fails the sweep does it.
    async fn forget(&self, key: &Key) {
        if let Err(error) = self.uploads.forget(key.as_str()).await {
            tracing::debug!(%error, "an upload that was given up is left to the sweep");
        }
    }

    /// Removes an object in whose place another one was recorded. Where that fails the sweep does it.
    async fn remove(&self, store: Store, key: Key) {
        let object = key.clone();
        match tokio::task::spawn_blocking(move || store.delete(&object)).await {
            Ok(Ok(())) => self.forget(&key).await,
            Ok(Err(error)) => tracing::debug!(%error, "an upload that is not needed is left to the sweep"),
            Err(error) => tracing::debug!(%error, "an upload that is not needed is left to the sweep"),
        }
    }

    /// Counts and answers what is not taken in.
    fn turn(&self, turned: Turned) -> Result<Response, Problem> {
        match turned {
            Turned::Away(problem) => {
                count_refused(1);
                Err(problem)
            }
            Turned::Taken(accepted) => {
                tell(std::slice::from_ref(&accepted), &self.committed);
                Ok(answer(accepted))
            }
        }
    }

    fn refuse(&self, error: FormError) -> Problem {
        match error {
            FormError::Broken => problems::body_incomplete(),
            FormError::Wrong(detail) => problems::form_wrong(&detail),
            FormError::TooLarge => problems::upload_too_large(self.limits.bytes),
        }
    }
}

async fn in_time<T>(stall: Duration, reading: impl Future<Output = T>) -> Result<T, Problem> {
    let read = timeout(stall, reading).await;
    read.map_err(|_| problems::upload_stalled(stall.as_secs()))
}

fn milliseconds(seconds: f64) -> Result<u64, Problem> {
    let millis = (seconds * 1000.0).round();
    if !(0.0..=LATEST_FRAME).contains(&millis) {
        return Err(problems::query_wrong(
            "at: expected the time of the wanted frame in seconds, such as 12.5",
        ));
    }
    Ok(millis as u64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_in_seconds_and_kept_in_milliseconds() {
        assert_eq!(milliseconds(0.0).unwrap(), 0);
        assert_eq!(milliseconds(12.5).unwrap(), 12_500);
        assert_eq!(milliseconds(0.0004).unwrap(), 0);
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e7] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }
}
