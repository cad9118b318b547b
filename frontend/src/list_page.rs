//! The list of images, newest first.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use safelight_database::{Counts, ImageRecord, Images, ListQuery};

use crate::error_page::PageError;
use crate::filter::{Asked, Choice, Filter, Place};
use crate::page::{self, PersonLink, ShownPath};
use crate::server::App;
use crate::stamp::{Stamp, duration};
use crate::state::State;

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    heading: String,
    summary: String,
    counts: Vec<Count>,
    waiting: u64,
    waiting_for: Option<String>,
    nothing_posted: bool,
    receiver_url: String,
    choices: Vec<MenuLine>,
    person: String,
    filtered: bool,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
}

/// A number on top, which leads to the images that it counts.
struct Count {
    key: &'static str,
    icon: Option<&'static str>,
    label: &'static str,
    number: u64,
    link: String,
    current: bool,
}

/// A line of the status menu.
struct MenuLine {
    value: &'static str,
    label: &'static str,
    current: bool,
}

struct Row {
    id: i64,
    path: ShownPath,
    alt: String,
    state: State,
    reason: Option<String>,
    people: Vec<PersonLink>,
    distance: Option<String>,
    took: Option<String>,
    posted: Stamp,
}

/// A page of records and the ways on from it.
struct Records {
    records: Vec<ImageRecord>,
    newer: Option<Place>,
    older: Option<Place>,
}

pub(crate) async fn show(
    Shared(app): Shared<App>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, PageError> {
    let Query(asked) =
        asked.map_err(|_| PageError::Wrong("The address holds a query that cannot be read."))?;
    let (filter, place) = asked.read()?;
    let finding = find(&app.images, &filter, place, app.settings.page_size);
    let (counts, found) = tokio::try_join!(app.tally.counts(), finding)?;
    let Some(found) = found else {
        return Ok(Redirect::to(&filter.link(Place::Newest)).into_response());
    };
    page::html(
        StatusCode::OK,
        &ListPage::new(&app.settings.receiver_url, &counts, &filter, found),
    )
}

/// How many records are looked through at most for those that only this page tells apart.
const LONGEST_LOOK: u32 = 10_000;
const LOOK_STEP: u32 = 500;

/// `None` where a step towards the newer ones has come to the newest page.
async fn find(
    images: &Images,
    filter: &Filter,
    place: Place,
    page_size: u32,
) -> Result<Option<Records>, safelight_database::Error> {
    let (after, newest_first) = match place {
        Place::Newest => (None, true),
        Place::OlderThan(id) => (Some(id), true),
        Place::NewerThan(id) => (Some(id), false),
    };
    // One more than fits tells whether there is a further page.
    let (step, steps) = match filter.tells_pending_apart() {
        true => (LOOK_STEP, LONGEST_LOOK / LOOK_STEP),
        false => (page_size + 1, 1),
    };
    let mut query = ListQuery {
        after,
        limit: step,
        status: filter.status.map(Choice::status),
        project: None,
        person: filter.person.clone(),
        newest_first,
    };
    let page_size = page_size as usize;
    let mut records = Vec::new();
    let mut at_the_end = false;
    for _ in 0..steps {
        let found = images.list(&query).await?;
        at_the_end = found.len() < step as usize;
        query.after = found.last().map(|record| record.id).or(query.after);
        records.extend(found.into_iter().filter(|record| filter.takes(record)));
        if at_the_end || records.len() > page_size {
            break;
        }
    }
    let onward = match records.get(page_size.saturating_sub(1)) {
        Some(last) if records.len() > page_size => Some(last.id),
        _ if at_the_end => None,
        _ => query.after,
    };
    records.truncate(page_size);
    Ok(match place {
        Place::Newest => Some(Records {
            records,
            newer: None,
            older: onward.map(Place::OlderThan),
        }),
        Place::OlderThan(_) => {
            let newer = records
                .first()
                .map_or(Place::Newest, |first| Place::NewerThan(first.id));
            Some(Records {
                records,
                newer: Some(newer),
                older: onward.map(Place::OlderThan),
            })
        }
        Place::NewerThan(id) => onward.map(|onward| {
            records.reverse();
            let older = Place::OlderThan(records.last().map_or(id, |last| last.id));
            Records {
                records,
                newer: Some(Place::NewerThan(onward)),
                older: Some(older),
            }
        }),
    })
}

impl ListPage {
    fn new(receiver_url: &str, counts: &Counts, filter: &Filter, found: Records) -> Self {
        let numbers = Numbers::of(counts);
        let waiting_for = found.records.iter().find_map(|record| record.waiting_for.clone());
        Self {
            heading: heading(filter),
            summary: numbers.summary(),
            counts: numbers.tiles(filter),
            waiting: numbers.of_choice(Choice::Waiting),
            waiting_for,
            nothing_posted: numbers.all() == 0 && found.records.is_empty(),
            receiver_url: receiver_url.to_owned(),
            choices: choices(filter),
            person: filter.person.clone().unwrap_or_default(),
            filtered: !filter.is_empty(),
            rows: found.records.into_iter().map(Row::from).collect(),
            newer: found.newer.map(|place| filter.link(place)),
            older: found.older.map(|place| filter.link(place)),
        }
    }
}

fn heading(filter: &Filter) -> String {
    match (filter.status, &filter.person) {
        (None, None) => "Images".to_owned(),
        (Some(status), None) => format!("Images, {status}"),
        (None, Some(person)) => format!("Images of {person}"),
        (Some(status), Some(person)) => format!("Images of {person}, {status}"),
    }
}

fn choices(filter: &Filter) -> Vec<MenuLine> {
    let any = MenuLine {
        value: "",
        label: "any",
        current: filter.status.is_none(),
    };
    let rest = Choice::ALL.into_iter().map(|choice| MenuLine {
        value: choice.key(),
        label: choice.key(),
        current: filter.status == Some(choice),
    });
    std::iter::once(any).chain(rest).collect()
}

/// How many images there are of each choice; every image counts once.
struct Numbers([(Choice, u64); 5]);

impl Numbers {
    fn of(counts: &Counts) -> Self {
        Self([
            (Choice::Pending, counts.pending.saturating_sub(counts.waiting)),
            (Choice::Waiting, counts.waiting),
            (Choice::Processing, counts.processing),
            (Choice::Processed, counts.processed),
            (Choice::Failed, counts.failed),
        ])
    }

    fn all(&self) -> u64 {
        self.0.iter().map(|(_, number)| number).sum()
    }

    fn of_choice(&self, wanted: Choice) -> u64 {
        self.0
            .iter()
            .find(|(choice, _)| *choice == wanted)
            .map_or(0, |(_, number)| *number)
    }

    fn summary(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(choice, number)| format!("{number} {choice}"))
            .collect();
        format!("{} images: {}", self.all(), parts.join(", "))
    }

    fn tiles(&self, filter: &Filter) -> Vec<Count> {
        let tile = |status: Option<Choice>, label, number| Count {
            key: label,
            icon: status.map(Choice::key),
            label,
            number,
            link: Filter { status, person: None }.link(Place::Newest),
            current: filter.status == status && filter.person.is_none(),
        };
        let all = tile(None, "all", self.all());
        let rest = self
            .0
            .iter()
            .map(|(choice, number)| tile(Some(*choice), choice.key(), *number));
        std::iter::once(all).chain(rest).collect()
    }
}

impl From<ImageRecord> for Row {
    fn from(record: ImageRecord) -> Self {
        let state = State::of(&record);
        let path = ShownPath::new(&record.path, record.name.as_deref());
        Self {
            id: record.id,
            alt: alternative_text(&record.people, &path.name, &state),
            path,
            state,
            reason: record.reason,
            people: record.people.into_iter().map(PersonLink::from).collect(),
            distance: record.distance.map(|distance| format!("{distance:.2}")),
            took: record.duration_ms.map(duration),
            posted: Stamp(record.created_at_ms),
        }
    }
}

/// What a picture shows, for those who do not see it.
pub(crate) fn alternative_text(people: &[String], name: &str, state: &State) -> String {
    match (people, state) {
        ([], State::Processed) => format!("{name}: nobody known"),
        ([], state) => format!("{name}: {state}"),
        (people, _) => format!("{name}: {}", people.join(", ")),
    }
}
