//! What was posted: JSON, read leniently, so that one bad entry of a bulk post spoils no other.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::member::{Member, MemberSeed, anything_else_is};

/// One image as it was posted: `{"path":"…"}`, or what stood in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// An object.
    Object(Members),
    /// Anything but an object.
    NotAnObject,
}

/// The members of an object that mean something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) path: Member,
    /// Whom to tell when the work has ended.
    pub(crate) email: Member,
    /// See `email`.
    pub(crate) webhook: Member,
}

/// A bulk post: `{"paths":[…]}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PostedMany {
    /// The entries, no more than were allowed, and the members beside them, which hold for those that say nothing else.
    Entries(Vec<Posted>, Members),
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
        let mut members = Members::default();
        while let Some(key) = object.next_key::<Key>()? {
            match key {
                Key::Path => members.path = object.next_value_seed(MemberSeed)?,
                Key::Email => members.email = object.next_value_seed(MemberSeed)?,
                Key::Webhook => members.webhook = object.next_value_seed(MemberSeed)?,
                Key::Paths | Key::Other => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Posted::Object(members))
    }

    anything_else_is!(Posted::NotAnObject; null scalars text list);
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
        let mut beside = Members::default();
        while let Some(key) = object.next_key::<Key>()? {
            match key {
                Key::Paths => posted = object.next_value_seed(ListSeed { most: self.most })?,
                Key::Email => beside.email = object.next_value_seed(MemberSeed)?,
                Key::Webhook => beside.webhook = object.next_value_seed(MemberSeed)?,
                Key::Path | Key::Other => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        if let PostedMany::Entries(_, members) = &mut posted {
            *members = beside;
        }
        Ok(posted)
    }

    anything_else_is!(PostedMany::NoList; null scalars text list);
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
                None => return Ok(PostedMany::Entries(entries, Members::default())),
            }
        }
        let mut surplus = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            surplus += 1;
        }
        Ok(if surplus == 0 {
            PostedMany::Entries(entries, Members::default())
        } else {
            PostedMany::TooMany(self.most + surplus)
        })
    }

    anything_else_is!(PostedMany::NoList; null scalars text object);
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Path,
    Paths,
    Email,
    Webhook,
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

    fn text(text: &str) -> Member {
        Member::Text(text.to_owned())
    }

    fn path(path: Member) -> Posted {
        Posted::Object(Members {
            path,
            ..Members::default()
        })
    }

    #[test]
    fn a_post_is_an_object_with_a_path_and_what_else_it_holds_is_ignored() {
        assert_eq!(one(r#"{"path":"/a.jpg"}"#), path(text("/a.jpg")));
        assert_eq!(
            one(r#"{"from":{"x":[1]},"path":"/\u00e4.jpg","to":2}"#),
            path(text("/ä.jpg"))
        );
    }

    #[test]
    fn a_post_says_whom_to_tell() {
        let members = Members {
            path: text("/a.jpg"),
            email: text("a@b.c"),
            webhook: Member::NotText,
        };
        assert_eq!(
            one(r#"{"email":"a@b.c","webhook":["x"],"path":"/a.jpg"}"#),
            Posted::Object(members)
        );
        let PostedMany::Entries(entries, beside) =
            many(r#"{"email":null,"paths":[{"path":"/a","webhook":"x"}],"webhook":"y"}"#)
        else {
            panic!("there is a list");
        };
        let Posted::Object(entry) = &entries[0] else {
            panic!("it is an object");
        };
        assert_eq!((&entry.email, &entry.webhook), (&Member::Missing, &text("x")));
        assert_eq!((beside.email, beside.webhook), (Member::Null, text("y")));
    }

    #[test]
    fn what_is_no_path_is_told_apart() {
        assert_eq!(one("{}"), path(Member::Missing));
        assert_eq!(one(r#"{"paths":[]}"#), path(Member::Missing));
        assert_eq!(one(r#"{"path":null}"#), path(Member::Null));
        for given in ["1", "-1", "1.5", "true", "[\"/a\"]", "{\"path\":\"/a\"}"] {
            assert_eq!(
                one(&format!("{{\"path\":{given}}}")),
                path(Member::NotText),
                "{given}"
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
            PostedMany::Entries(
                vec![path(text("/a")), Posted::NotAnObject, path(Member::Null)],
                Members::default()
            )
        );
        assert_eq!(
            many(r#"{"paths":[]}"#),
            PostedMany::Entries(vec![], Members::default())
        );
    }

    #[test]
    fn entries_beyond_the_most_are_counted_and_not_kept() {
        let body = |n: usize| format!("{{\"paths\":[{}]}}", vec!["{\"path\":\"/a\"}"; n].join(","));
        assert!(matches!(many(&body(3)), PostedMany::Entries(entries, _) if entries.len() == 3));
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
