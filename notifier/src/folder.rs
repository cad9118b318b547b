//! Mails as files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

/// A folder that mails are written to, each once under its own name.
#[derive(Clone, Debug)]
pub(crate) struct MailFolder {
    folder: Arc<Path>,
}

// === impl MailFolder ===

impl MailFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Makes the folder where it is missing.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let folder = Arc::clone(&self.folder);
        blocking(move || fs::create_dir_all(&folder)).await
    }

    /// Writes a mail to `KEY.eml`, whole or not at all.
    pub(crate) async fn deliver(&self, key: &str, mail: Vec<u8>) -> Result<(), String> {
        let path = self.folder.join(format!("{key}.eml"));
        let temporary = self.folder.join(format!(".{key}.{:016x}", rand::random::<u64>()));
        let folder = Arc::clone(&self.folder);
        blocking(move || {
            fs::create_dir_all(&folder)?;
            write_once(&temporary, &path, &mail)
        })
        .await
    }
}

fn write_once(temporary: &PathBuf, path: &PathBuf, mail: &[u8]) -> io::Result<()> {
    let written = fs::File::create_new(temporary).and_then(|mut file| {
        file.write_all(mail)?;
        file.sync_all()?;
        fs::rename(temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(temporary);
    }
    written
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| format!("MAIL_FOLDER cannot be written to: {error}")),
        Err(_) => Err("writing a mail to MAIL_FOLDER broke off".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mail_that_is_written_twice_is_there_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("mail");
        let folder = MailFolder::new(&path);
        folder.deliver("ab", b"one".to_vec()).await.unwrap();
        folder.deliver("ab", b"two".to_vec()).await.unwrap();
        let names: Vec<_> = fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["ab.eml"]);
        assert_eq!(fs::read(path.join("ab.eml")).unwrap(), b"two");
    }
}
