//! An object that goes into a bucket part by part.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{MultipartUpload, PutPayloadMut};

use crate::error::StoreError;
use crate::fault::fault;
use crate::key::Key;
use crate::remote::Remote;
use crate::store::Object;

/// The least that S3 takes as a part that is not the last.
const LEAST: u64 = 5 << 20;
/// The most parts that S3 takes of an object.
const PARTS: u64 = 10_000;
/// What is gathered in one piece of memory.
const GATHERED: usize = 128 << 10;
/// How long giving up is waited for. It goes on behind the one who waited.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(10);

/// What comes in is gathered until it is a part. What is no more than one part is put there by one request. Dropped before
/// it is finished, the parts are removed.
#[derive(Debug)]
pub(crate) struct Parts {
    remote: Arc<Remote>,
    path: Path,
    /// All but the last are as large as this: some stores want them to be alike.
    size: u64,
    gathered: PutPayloadMut,
    /// From the first part that is full on.
    begun: Option<Box<dyn MultipartUpload>>,
}

// === impl Parts ===

impl Parts {
    pub(crate) fn begin(remote: &Arc<Remote>, key: &Key, most: u64) -> Result<Self, StoreError> {
        remote.be_tried()?;
        let path = remote.path_of(key);
        if remote.wait(remote.is_there(&path))? {
            return Err(StoreError::There);
        }
        Ok(Self {
            remote: Arc::clone(remote),
            path,
            size: most.div_ceil(PARTS).max(LEAST),
            gathered: gather(),
            begun: None,
        })
    }

    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let room = self.size - self.gathered.content_length() as u64;
            let fits = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(fits);
            self.gathered.extend_from_slice(part);
            bytes = rest;
            // A full one waits for the next byte, so that the last one is never empty.
            if !bytes.is_empty() {
                self.send()?;
            }
        }
        Ok(())
    }

    /// Sends a part, and waits: there is never more than one in memory.
    fn send(&mut self) -> Result<(), StoreError> {
        let payload = std::mem::replace(&mut self.gathered, gather()).freeze();
        let remote = Arc::clone(&self.remote);
        if self.begun.is_none() {
            let options = object_store::PutMultipartOptions::default();
            let begun = remote.client().put_multipart_opts(&self.path, options);
            self.begun = Some(remote.wait(begun).map_err(fault)?);
        }
        match &mut self.begun {
            Some(begun) => remote.wait(begun.put_part(payload)).map_err(fault),
            None => unreachable!("it was begun above"),
        }
    }

    /// Puts the object there, which is `whole`.
    pub(crate) fn finish(mut self, whole: Object) -> Result<(), StoreError> {
        let remote = Arc::clone(&self.remote);
        let finished = if self.begun.is_some() {
            self.send()?;
            if remote.wait(remote.is_there(&self.path))? {
                return Err(StoreError::There);
            }
            let completed = self.begun.as_mut().map(|begun| remote.wait(begun.complete()));
            completed.map_or(Ok(()), |completed| completed.map(drop))
        } else {
            let payload = std::mem::replace(&mut self.gathered, gather()).freeze();
            remote.wait(remote.put(&self.path, payload))
        };
        match finished.map_err(fault) {
            Ok(()) => {}
            // It may be ours: the answer to the first try may have been lost.
            Err(error @ (StoreError::There | StoreError::Missing)) => {
                let there = remote.wait(remote.describe(&self.path));
                if !there.is_ok_and(|there| there == whole) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        self.begun = None;
        Ok(())
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let Some(mut begun) = self.begun.take() else {
            return;
        };
        let (done, is_done) = mpsc::channel::<()>();
        self.remote.leave(async move {
            if let Err(error) = begun.abort().await {
                tracing::warn!(%error, "parts of an upload stay until a rule of the bucket removes them");
            }
            drop(done);
        });
        // An error says either that it is done or that it takes longer.
        let _ = is_done.recv_timeout(GIVEN_UP_WITHIN);
    }
}

fn gather() -> PutPayloadMut {
    PutPayloadMut::new().with_block_size(GATHERED)
}
