//! The sample photographs, and who is in them.

/// A photograph that the demo posts.
#[derive(Debug)]
pub(crate) struct Photograph {
    /// Its file name in the folder of samples.
    pub(crate) file: &'static str,
    /// Those of the known people that it shows.
    pub(crate) people: &'static [&'static str],
}

/// A person and the photograph by which they are known.
pub(crate) const KNOWN: [(&str, &str); 1] = [("obama", "obama.jpg")];

const POSTED: [Photograph; 5] = [
    Photograph {
        file: "obama2.jpg",
        people: &["obama"],
    },
    Photograph {
        file: "obama3.jpg",
        people: &["obama"],
    },
    Photograph {
        file: "obama_partial_face.jpg",
        people: &["obama"],
    },
    Photograph {
        file: "obama_partial_face2.jpg",
        people: &["obama"],
    },
    Photograph {
        file: "biden.jpg",
        people: &[],
    },
];

/// All that are posted.
pub(crate) fn posted() -> impl Iterator<Item = &'static Photograph> {
    POSTED.iter()
}
