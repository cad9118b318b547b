use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use crate::descriptor::{DESCRIPTOR_LENGTH, Descriptor, squared_distance};

/// A known picture of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownFace {
    /// Who it is.
    pub person: Arc<str>,
    /// The picture's file name.
    pub image_name: Arc<str>,
    /// The face as numbers.
    pub descriptor: Descriptor,
}

/// The nearest known picture of a face.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Who it is.
    pub person: Arc<str>,
    /// The known picture's file name.
    pub image_name: Arc<str>,
    /// How far the two faces are apart; see [`Descriptor::distance`].
    pub distance: f32,
}

/// Where known faces come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    Folder,
    Database,
}

/// Everybody who is known. Readers never wait: they see the gallery as it was when they began.
#[derive(Debug, Default)]
pub(crate) struct Gallery {
    by_origin: Mutex<BTreeMap<Origin, Vec<KnownFace>>>,
    snapshot: ArcSwap<Snapshot>,
}

/// The known faces at one moment, with the descriptors side by side in memory: a scan over thousands takes
/// less time than the network's first layer, so there is no index to keep.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    descriptors: Vec<[f32; DESCRIPTOR_LENGTH]>,
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    person: Arc<str>,
    image_name: Arc<str>,
    origin: Origin,
}

// === impl Gallery ===

impl Gallery {
    /// Makes these the known faces of an origin, in place of those it had.
    pub(crate) fn replace(&self, origin: Origin, faces: Vec<KnownFace>) {
        let mut by_origin = self.by_origin.lock().unwrap_or_else(PoisonError::into_inner);
        by_origin.insert(origin, faces);
        let snapshot = Snapshot::of(&by_origin);
        metrics::gauge!("recognizer_known_samples").set(snapshot.names.len() as f64);
        // Within the lock, so that of two replacements the later one's snapshot stays.
        self.snapshot.store(Arc::new(snapshot));
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

// === impl Snapshot ===

impl Snapshot {
    fn of(by_origin: &BTreeMap<Origin, Vec<KnownFace>>) -> Self {
        let mut snapshot = Self::default();
        for (origin, faces) in by_origin {
            for face in faces {
                snapshot.descriptors.push(face.descriptor.0);
                snapshot.names.push(Name {
                    person: Arc::clone(&face.person),
                    image_name: Arc::clone(&face.image_name),
                    origin: *origin,
                });
            }
        }
        snapshot
    }

    /// The nearest known face that is nearer than `limit`. Of two equally near the first known.
    pub(crate) fn nearest(&self, face: &Descriptor, limit: f32) -> Option<Match> {
        let mut nearest: Option<(usize, f32)> = None;
        for (index, known) in self.descriptors.iter().enumerate() {
            let squared = squared_distance(known, &face.0);
            if nearest.is_none_or(|(_, least)| squared < least) {
                nearest = Some((index, squared));
            }
        }
        let (index, squared) = nearest?;
        let name = self.names.get(index)?;
        let distance = squared.sqrt();
        (distance < limit).then(|| Match {
            person: Arc::clone(&name.person),
            image_name: Arc::clone(&name.image_name),
            distance,
        })
    }

    /// Everybody, by name, with the file names of their pictures.
    pub(crate) fn people(&self) -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let mut people: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for name in &self.names {
            let pictures = people.entry(Arc::clone(&name.person)).or_default();
            pictures.insert(Arc::clone(&name.image_name));
        }
        people
    }

    /// Whether a person is known from this origin.
    pub(crate) fn has(&self, person: &str, origin: Origin) -> bool {
        self.names
            .iter()
            .any(|name| name.origin == origin && &*name.person == person)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn face(person: &str, image_name: &str, at: f32) -> KnownFace {
        let mut descriptor = Descriptor([0.0; DESCRIPTOR_LENGTH]);
        descriptor.0[0] = at;
        KnownFace {
            person: person.into(),
            image_name: image_name.into(),
            descriptor,
        }
    }

    #[test]
    fn the_nearest_face_within_the_limit_is_found() {
        let gallery = Gallery::default();
        gallery.replace(
            Origin::Folder,
            vec![face("ann", "ann_1.jpg", 0.0), face("bob", "bob_1.jpg", 1.0)],
        );
        let near_bob = face("?", "?", 0.75).descriptor;
        let found = gallery.snapshot().nearest(&near_bob, 0.6).unwrap();
        assert_eq!((&*found.person, &*found.image_name), ("bob", "bob_1.jpg"));
        assert_eq!(found.distance, 0.25);
        assert_eq!(gallery.snapshot().nearest(&near_bob, 0.25), None);
    }

    #[test]
    fn nobody_is_found_in_an_empty_gallery() {
        assert_eq!(
            Gallery::default()
                .snapshot()
                .nearest(&face("?", "?", 0.0).descriptor, 0.6),
            None
        );
    }

    #[test]
    fn an_origin_replaces_its_own_faces_only() {
        let gallery = Gallery::default();
        gallery.replace(Origin::Folder, vec![face("ann", "ann_1.jpg", 0.0)]);
        gallery.replace(
            Origin::Database,
            vec![face("bob", "b.jpg", 1.0), face("ann", "a.jpg", 0.1)],
        );
        gallery.replace(Origin::Folder, Vec::new());
        let snapshot = gallery.snapshot();
        let people: Vec<Arc<str>> = snapshot.people().into_keys().collect();
        assert_eq!(people, ["ann".into(), "bob".into()]);
        assert!(snapshot.has("ann", Origin::Database));
        assert!(!snapshot.has("ann", Origin::Folder));
    }
}
