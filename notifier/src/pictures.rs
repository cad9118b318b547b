//! The pictures that mails show.

use safelight_store::Store;

use crate::letter::{LARGEST_SHOWN, Picture, Showable};

/// Reads what can be shown, each with its image's id. What cannot be read is left out: the mail leads to it, too.
pub(crate) async fn pictures_of(store: &Store, showable: Vec<Showable>) -> Vec<(i64, Picture)> {
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut pictures = Vec::with_capacity(showable.len());
        for one in showable {
            match read(&store, &one) {
                Ok(picture) => pictures.push((one.image_id, picture)),
                Err(why) => tracing::debug!(image = one.image_id, why, "a picture is left out of a mail"),
            }
        }
        pictures
    });
    read.await.unwrap_or_default()
}

fn read(store: &Store, one: &Showable) -> Result<Picture, String> {
    let key = store.key_of(&one.uri).ok_or("it does not lie in the store")?;
    let bytes = store
        .read(&key, LARGEST_SHOWN)
        .map_err(|error| error.to_string())?;
    Ok(Picture {
        content_id: format!("picture-{}@safelight", one.image_id),
        content_type: one.content_type.clone(),
        bytes,
    })
}
