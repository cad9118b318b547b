//! What was posted: JSON, read leniently, so that one bad entry of a bulk post spoils no other.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One image as it was posted: `{"path":"…"}`, or what stood in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// An object with a text under `path`.
    Path(String),
    /// An object without `path`.
    NoPath,
    /// An object whose `path` is not a text.
    PathNotText,
    /// Anything but an object.
    NotAnObject,
}

/// A bulk post: `{"paths":[…]}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PostedMany {
    /// The entries, no more than were allowed.
    Entries(Vec<Posted>),
    /// More entries than allowed; how many there were.
    TooMany(usize),
    /// No `paths`, or `paths` is not a list.
    NoList,
}

impl Posted {
    /// Reads a single post.
    pub(crate) fn parse(body: &[u8]) -> serde_json::Result<Self> {
        read(body, PostedSeed)
    }
}

impl PostedMany {
    /// Reads a bulk post; keeps no more than `most` entries in memory.
    pub(crate) fn parse(body: &[u8], most: usize) -> serde_json::Result<Self> {
        read(body, ManySeed { most })
    }
}

fn read<'a, S: DeserializeSeed<'a>>(body: &'a [u8], seed: S) -> serde_json::Result<S::Value> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Visits every JSON value; each `Visitor` below overrides the shapes that it wants.
macro_rules! anything_else_is {
    ($value:expr; $($shape:ident)*) => {
        $(anything_else_is!(@$shape $value);)*
    };
    (@scalars $value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok($value) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok($value) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok($value) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok($value) }
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok($value) }
    };
    (@text $value:expr) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok($value) }
    };
    (@list $value:expr) => {
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
    (@object $value:expr) => {
        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok($value)
        }
    };
}

/// The value under `path`.
struct PathSeed;

impl<'de> DeserializeSeed<'de> for PathSeed {
    type Value = Posted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Posted, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PathSeed {
    type Value = Posted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a path")
    }

    fn visit_str<E>(self, text: &str) -> Result<Posted, E> {
        Ok(Posted::Path(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Posted, E> {
        Ok(Posted::Path(text))
    }

    anything_else_is!(Posted::PathNotText; scalars list object);
}

/// One entry.
struct PostedSeed;

impl<'de> DeserializeSeed<'de> for PostedSeed {
    type Value = Posted;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Posted, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PostedSeed {
    type Value = Posted;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with a path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Posted, A::Error> {
        let mut posted = Posted::NoPath;
        while let Some(key) = object.next_key::<Key>()? {
            match key {
                Key::Path => posted = object.next_value_seed(PathSeed)?,
                Key::Paths | Key::Other => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(posted)
    }

    anything_else_is!(Posted::NotAnObject; scalars text list);
}

/// The object of a bulk post.
struct ManySeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ManySeed {
    type Value = PostedMany;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PostedMany, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ManySeed {
    type Value = PostedMany;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with paths")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<PostedMany, A::Error> {
        let mut posted = PostedMany::NoList;
        while let Some(key) = object.next_key::<Key>()? {
            match key {
                Key::Paths => posted = object.next_value_seed(ListSeed { most: self.most })?,
                Key::Path | Key::Other => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(posted)
    }

    anything_else_is!(PostedMany::NoList; scalars text list);
}

/// The list under `paths`.
struct ListSeed {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = PostedMany;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PostedMany, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = PostedMany;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of objects with a path")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PostedMany, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < self.most {
            match list.next_element_seed(PostedSeed)? {
                Some(entry) => entries.push(entry),
                None => return Ok(PostedMany::Entries(entries)),
            }
        }
        let mut surplus = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            surplus += 1;
        }
        Ok(if surplus == 0 {
            PostedMany::Entries(entries)
        } else {
            PostedMany::TooMany(self.most + surplus)
        })
    }

    anything_else_is!(PostedMany::NoList; scalars text object);
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Path,
    Paths,
    #[serde(other)]
    Other,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn one(body: &str) -> Posted {
        Posted::parse(body.as_bytes()).unwrap()
    }

    fn many(body: &str) -> PostedMany {
        PostedMany::parse(body.as_bytes(), 3).unwrap()
    }

    #[test]
    fn a_post_is_an_object_with_a_path_and_what_else_it_holds_is_ignored() {
        assert_eq!(one(r#"{"path":"/a.jpg"}"#), Posted::Path("/a.jpg".into()));
        assert_eq!(
            one(r#"{"from":{"x":[1]},"path":"/\u00e4.jpg","to":2}"#),
            Posted::Path("/ä.jpg".into())
        );
    }

    #[test]
    fn what_is_no_path_is_told_apart() {
        assert_eq!(one("{}"), Posted::NoPath);
        assert_eq!(one(r#"{"paths":[]}"#), Posted::NoPath);
        for path in ["1", "-1", "1.5", "null", "true", "[\"/a\"]", "{\"path\":\"/a\"}"] {
            assert_eq!(
                one(&format!("{{\"path\":{path}}}")),
                Posted::PathNotText,
                "{path}"
            );
        }
        for body in ["1", "null", "true", "\"/a.jpg\"", "[{\"path\":\"/a\"}]"] {
            assert_eq!(one(body), Posted::NotAnObject, "{body}");
        }
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for body in [
            "",
            "path=/a.jpg",
            "{\"path\":\"/a.jpg\"",
            "{\"path\":\"/a\"} {}",
            "{\"path\":\"\u{1}\"}",
        ] {
            assert!(Posted::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Posted::parse(b"{\"path\":\"\xff\"}").is_err());
        let deep = "[".repeat(100_000);
        assert!(Posted::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_bad_entry_of_a_bulk_post_leaves_the_others_alone() {
        assert_eq!(
            many(r#"{"paths":[{"path":"/a"},7,{"path":null}]}"#),
            PostedMany::Entries(vec![
                Posted::Path("/a".into()),
                Posted::NotAnObject,
                Posted::PathNotText
            ])
        );
        assert_eq!(many(r#"{"paths":[]}"#), PostedMany::Entries(vec![]));
    }

    #[test]
    fn entries_beyond_the_most_are_counted_and_not_kept() {
        let body = |n: usize| format!("{{\"paths\":[{}]}}", vec!["{\"path\":\"/a\"}"; n].join(","));
        assert!(matches!(many(&body(3)), PostedMany::Entries(entries) if entries.len() == 3));
        assert_eq!(many(&body(4)), PostedMany::TooMany(4));
        assert_eq!(many(&body(100)), PostedMany::TooMany(100));
    }

    #[test]
    fn a_bulk_post_without_a_list_is_told() {
        for body in [
            "{}",
            "[]",
            r#"{"path":"/a"}"#,
            r#"{"paths":"/a"}"#,
            r#"{"paths":{"path":"/a"}}"#,
        ] {
            assert_eq!(many(body), PostedMany::NoList, "{body}");
        }
    }
}
