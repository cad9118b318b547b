//! Objects in a bucket, carried over the network.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetResult, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};

use crate::args::{Bucket, ConfigError};
use crate::client;
use crate::error::StoreError;
use crate::fault::{fault, late};
use crate::key::Key;
use crate::reader::Reader;
use crate::store::{Object, Put};

/// A check that has no answer by then has failed.
const CHECKED_WITHIN: Duration = Duration::from_secs(8);
/// How often a put is tried that another one was in the way of, which then was not there.
const RACES: u32 = 5;
/// Between two of them.
const RACE: Duration = Duration::from_millis(100);

/// A store in a bucket.
pub(crate) struct Remote {
    client: Arc<dyn ObjectStore>,
    uri: String,
    prefix: Option<Key>,
    /// Whether it was seen not to write over an object where it was told not to.
    is_tried: AtomicBool,
    handle: Handle,
    _thread: Thread,
}

/// The runtime of the connections. It has its own, as the callers' may have ended, or stand still while they wait.
struct Thread(Option<Runtime>);

/// An object that comes in.
pub(crate) struct Incoming {
    remote: Arc<Remote>,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    chunk: Bytes,
}

// === impl Remote ===

impl Remote {
    pub(crate) fn open(
        bucket: &Bucket,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(|error| ConfigError::Bucket(format!("it needs a thread: {error}")))?;
        let handle = runtime.handle().clone();
        let thread = Thread(Some(runtime));
        Ok(Self {
            client: client::of(bucket, variables)?,
            uri: bucket.uri(),
            prefix: bucket.prefix.clone(),
            is_tried: AtomicBool::new(false),
            handle,
            _thread: thread,
        })
    }

    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    pub(crate) fn client(&self) -> &dyn ObjectStore {
        &*self.client
    }

    pub(crate) fn path_of(&self, key: &Key) -> Path {
        self.path(key.as_str())
    }

    fn path(&self, text: &str) -> Path {
        // Both are of letters that it takes as they are.
        match &self.prefix {
            Some(prefix) => Path::from(format!("{prefix}/{text}")),
            None => Path::from(text),
        }
    }

    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }

    /// Has it done, with or without somebody who waits.
    pub(crate) fn leave(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(work);
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let checked = async {
            if !self.is_tried.load(Ordering::Acquire) {
                return self.try_out().await;
            }
            match self.client.get(&self.path("tmp/check")).await.map_err(fault) {
                Ok(_) | Err(StoreError::Missing) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.wait(async {
            timeout(CHECKED_WITHIN, checked)
                .await
                .unwrap_or_else(|_| Err(late()))
        })
    }

    /// # Errors
    /// [`StoreError::Overwrites`], or why that cannot be said.
    pub(crate) fn be_tried(&self) -> Result<(), StoreError> {
        if self.is_tried.load(Ordering::Acquire) {
            return Ok(());
        }
        self.wait(self.try_out())
    }

    /// Puts an object under a name of its own, twice. The second has to be refused.
    async fn try_out(&self) -> Result<(), StoreError> {
        let path = self.path(&format!("{}/{:032x}", Key::TEMPORARY, rand::random::<u128>()));
        let mut puts = [self.put(&path, PutPayload::from_static(b"first")).await, Ok(())];
        if puts[0].is_ok() {
            puts[1] = self.put(&path, PutPayload::from_static(b"second")).await;
            if let Err(error) = self.client.delete(&path).await {
                tracing::warn!(%error, "an object that was put on trial stays until the sweep");
            }
        }
        let [first, second] = puts.map(|put| put.map_err(fault));
        match (first, second) {
            (Ok(()), Err(StoreError::There)) => {
                self.is_tried.store(true, Ordering::Release);
                Ok(())
            }
            (Ok(()), Ok(())) => Err(StoreError::Overwrites),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error.of_putting()),
        }
    }

    /// One request that puts all of it there, or nothing where something is there.
    pub(crate) async fn put(&self, path: &Path, payload: PutPayload) -> Result<(), object_store::Error> {
        let put = self.client.put_opts(path, payload, PutMode::Create.into());
        put.await.map(drop)
    }

    pub(crate) fn put_once(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        self.be_tried()?;
        let path = self.path_of(key);
        let payload = PutPayload::from(Bytes::copy_from_slice(bytes));
        for _ in 0..RACES {
            match self.wait(self.put(&path, payload.clone())).map_err(fault) {
                Ok(()) => return Ok(Put::New(Object::of(bytes))),
                Err(StoreError::There) => {}
                Err(error) => return Err(error),
            }
            match self.wait(self.describe(&path)) {
                // One that puts at the same time has not ended, and may not come to a good end.
                Err(StoreError::Missing) => self.wait(sleep(RACE)),
                there => return there.map(Put::There),
            }
        }
        let reason = "others put the same object again and again, and it is not there";
        Err(StoreError::Unavailable(io::Error::other(reason)))
    }

    pub(crate) async fn is_there(&self, path: &Path) -> Result<bool, StoreError> {
        match self.client.head(path).await.map_err(fault) {
            Ok(_) => Ok(true),
            Err(StoreError::Missing) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is there, by reading it.
    pub(crate) async fn describe(&self, path: &Path) -> Result<Object, StoreError> {
        let mut stream = self.client.get(path).await.map_err(fault)?.into_stream();
        let mut hasher = blake3::Hasher::new();
        while let Some(chunk) = stream.next().await {
            hasher.update(&chunk.map_err(fault)?);
        }
        Ok(Object {
            bytes: hasher.count(),
            blake3: *hasher.finalize().as_bytes(),
        })
    }

    pub(crate) fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match self.wait(self.client.delete(&self.path_of(key))).map_err(fault) {
            Ok(()) | Err(StoreError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn reader(self: &Arc<Self>, key: &Key) -> Result<Reader, StoreError> {
        let got: GetResult = self.wait(self.client.get(&self.path_of(key))).map_err(fault)?;
        let bytes = got.meta.size;
        let incoming = Incoming {
            remote: Arc::clone(self),
            stream: got.into_stream(),
            chunk: Bytes::new(),
        };
        Ok(Reader::of_remote(incoming, bytes))
    }

    pub(crate) fn sweep_temporary(&self, older: Duration) -> Result<u64, StoreError> {
        let now = SystemTime::now();
        let swept = async {
            let mut removed = 0;
            let mut listed = self.client.list(Some(&self.path(Key::TEMPORARY)));
            while let Some(found) = listed.next().await {
                let found = found.map_err(fault)?;
                let at = SystemTime::from(found.last_modified);
                if now.duration_since(at).unwrap_or_default() < older {
                    continue;
                }
                match self.client.delete(&found.location).await.map_err(fault) {
                    Ok(()) => removed += 1,
                    // Another one sweeps, too.
                    Err(StoreError::Missing) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(removed)
        };
        self.wait(swept)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("uri", &self.uri)
            .finish_non_exhaustive()
    }
}

// === impl Thread ===

impl Drop for Thread {
    fn drop(&mut self) {
        // The last one who drops a store may be a task, which must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Incoming ===

impl Incoming {
    /// As [`io::Read::read`].
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !into.is_empty() {
            match self.remote.wait(self.stream.next()) {
                None => return Ok(0),
                Some(chunk) => {
                    self.chunk = chunk.map_err(|error| match fault(error) {
                        StoreError::Unavailable(error) => error,
                        error => io::Error::other(error.to_string()),
                    })?;
                }
            }
        }
        let taken = self.chunk.len().min(into.len());
        self.chunk.copy_to_slice(&mut into[..taken]);
        Ok(taken)
    }
}
