//! What a URL of the list asks for.

use std::fmt;

use safelight_database::{ImageRecord, Status};
use serde::Deserialize;
use url::form_urlencoded;

use crate::error_page::PageError;

/// The query as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    status: String,
    person: String,
    older: String,
    newer: String,
}

/// Which images are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) status: Option<Choice>,
    pub(crate) person: Option<String>,
}

/// A status to filter by, as it stands in the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Pending,
    Waiting,
    Processing,
    Processed,
    Failed,
}

/// Which page of them, by the id next to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Newest,
    /// The newest of those older than this id.
    OlderThan(i64),
    /// The oldest of those newer than this id.
    NewerThan(i64),
}

// === impl Asked ===

impl Asked {
    /// # Errors
    /// [`PageError::Wrong`] for a status or a place that does not exist.
    pub(crate) fn read(self) -> Result<(Filter, Place), PageError> {
        let status = match self.status.as_str() {
            "" => None,
            text => Some(Choice::parse(text)?),
        };
        let person = self.person.trim();
        let person = (!person.is_empty()).then(|| person.to_owned());
        let place = match (self.older.as_str(), self.newer.as_str()) {
            ("", "") => Place::Newest,
            (id, "") => Place::OlderThan(parse_id(id)?),
            (_, id) => Place::NewerThan(parse_id(id)?),
        };
        Ok((Filter { status, person }, place))
    }
}

fn parse_id(text: &str) -> Result<i64, PageError> {
    text.parse()
        .map_err(|_| PageError::Wrong("The address names a place in the list that cannot exist."))
}

// === impl Filter ===

impl Filter {
    /// The URL of a page of this list.
    pub(crate) fn link(&self, place: Place) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(status) = self.status {
            query.append_pair("status", status.key());
        }
        if let Some(person) = &self.person {
            query.append_pair("person", person);
        }
        match place {
            Place::Newest => {}
            Place::OlderThan(id) => drop(query.append_pair("older", &id.to_string())),
            Place::NewerThan(id) => drop(query.append_pair("newer", &id.to_string())),
        }
        match query.finish() {
            query if query.is_empty() => "/".to_owned(),
            query => format!("/?{query}"),
        }
    }

    /// Whether the database cannot do all of the filtering: waiting is pending there.
    pub(crate) fn tells_pending_apart(&self) -> bool {
        matches!(self.status, Some(Choice::Pending | Choice::Waiting))
    }

    /// Whether a record of the right status and person is one of this list.
    pub(crate) fn takes(&self, record: &ImageRecord) -> bool {
        match self.status {
            Some(Choice::Waiting) => record.waiting_for.is_some(),
            Some(Choice::Pending) => record.waiting_for.is_none(),
            _ => true,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The URL of all images of a person.
pub(crate) fn person_link(name: &str) -> String {
    Filter {
        status: None,
        person: Some(name.to_owned()),
    }
    .link(Place::Newest)
}

// === impl Choice ===

impl Choice {
    pub(crate) const ALL: [Self; 5] = [
        Self::Pending,
        Self::Waiting,
        Self::Processing,
        Self::Processed,
        Self::Failed,
    ];

    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting => "waiting",
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Result<Self, PageError> {
        let found = Self::ALL.into_iter().find(|choice| choice.key() == text);
        found.ok_or(PageError::Wrong(
            "The address names a status that does not exist. There are pending, waiting, processing, processed and failed.",
        ))
    }

    /// The status in the database; waiting is pending there.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Pending | Self::Waiting => Status::Pending,
            Self::Processing => Status::Processing,
            Self::Processed => Status::Processed,
            Self::Failed => Status::Failed,
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.key())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<(Filter, Place), PageError> {
        let mut asked = Asked::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "status" => asked.status = value.into_owned(),
                "person" => asked.person = value.into_owned(),
                "older" => asked.older = value.into_owned(),
                "newer" => asked.newer = value.into_owned(),
                _ => {}
            }
        }
        asked.read()
    }

    #[test]
    fn a_link_leads_back_to_the_filter_it_was_made_of() {
        for status in [None, Some(Choice::Waiting), Some(Choice::Failed)] {
            for person in [None, Some("Anna & \"Bob\" <b>ä=1?#".to_owned())] {
                for place in [Place::Newest, Place::OlderThan(7), Place::NewerThan(8)] {
                    let filter = Filter {
                        status,
                        person: person.clone(),
                    };
                    let link = filter.link(place);
                    let query = link.split_once('?').map_or("", |(_, query)| query);
                    assert_eq!(read(query).unwrap(), (filter, place), "{link}");
                }
            }
        }
    }

    #[test]
    fn an_empty_form_asks_for_everything() {
        assert_eq!(
            read("status=&person=+").unwrap(),
            (Filter::default(), Place::Newest)
        );
        assert_eq!(Filter::default().link(Place::Newest), "/");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for query in ["status=done", "older=x", "newer=99999999999999999999"] {
            assert!(matches!(read(query), Err(PageError::Wrong(_))), "{query}");
        }
    }
}
