//! Whose turn it is: senders are served one after the other, however much each of them has sent.
//!
//! Every task gets a number when it is written, its *turn*, and the new task of the smallest one is the next to be
//! begun: one look into an index, however many wait. It is what queueing theory calls start-time fair queueing. A
//! sender's tasks get one turn after the other, and the first of them none that is over already:
//!
//! ```text
//! turns      5  6  7  8  9 …
//! A (10,000) a  a  a  a  a …     a batch
//! B (1)      b                   comes later, and is the second to be begun
//! ```
//!
//! Who leaves an address has a row that remembers the next turn ([`take_turns!`]). Plain posts come by thousands a second
//! and must not wait for each other's rows: each program remembers for itself what it gave to whom ([`PlainTurns`]).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// The kind's present turn: the smallest that waits, else the largest that is done, else 0. An estimate, read without
/// locks: two calls at once may both take it, and be served together.
macro_rules! present_turn {
    ($connection:ident, $kind:expr) => {{
        let kind: $crate::TaskKind = $kind;
        let waiting: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT turn FROM ",
            tasks_by_turn!(),
            " WHERE kind = ? AND state = 0 AND lane = 0 ORDER BY turn LIMIT 1"
        ))
        .bind(kind.as_str())
        .fetch_optional(&mut *$connection)
        .await?;
        match waiting {
            Some(turn) => turn,
            None => {
                let done: Option<i64> = sqlx::query_scalar(concat!(
                    "SELECT turn FROM ",
                    tasks_by_turn!(),
                    " WHERE kind = ? AND state = 1 AND lane = 2 ORDER BY turn DESC LIMIT 1"
                ))
                .bind(kind.as_str())
                .fetch_optional(&mut *$connection)
                .await?;
                done.unwrap_or(0)
            }
        }
    }};
}

/// The first of `$count` turns, one after the other, for new tasks of a kind and a sender. With a sender it locks the
/// sender's row until the transaction ends.
macro_rules! take_turns {
    ($connection:ident, $kind:expr, $sender_id:expr, $count:expr) => {{
        let kind: $crate::TaskKind = $kind;
        let sender_id: Option<i64> = $sender_id;
        let count = i64::try_from($count).unwrap_or(0);
        let present = $crate::turn::present_turn!($connection, kind);
        match sender_id {
            None => present,
            Some(sender_id) => {
                sqlx::query(take_turns_of_sender!())
                    .bind(sender_id)
                    .bind(kind.as_str())
                    .bind(present)
                    .bind(count)
                    .bind(present)
                    .bind(count)
                    .execute(&mut *$connection)
                    .await?;
                let next: i64 =
                    sqlx::query_scalar("SELECT next_turn FROM turns WHERE sender_id = ? AND kind = ?")
                        .bind(sender_id)
                        .bind(kind.as_str())
                        .fetch_one(&mut *$connection)
                        .await?;
                next - count
            }
        }
    }};
}

pub(crate) use {present_turn, take_turns};

/// Tasks and their turns, for `chosen_turns!()`.
pub(crate) fn json_turns(turns: &[(i64, i64)]) -> String {
    let pairs: Vec<String> = turns.iter().map(|(id, turn)| format!("[{id},{turn}]")).collect();
    format!("[{}]", pairs.join(","))
}

/// The turns that this program gave to plain posts: of each project, and of those without one, the next. What it has
/// forgotten when it starts again is one turn that comes sooner.
#[derive(Debug, Default)]
pub(crate) struct PlainTurns {
    next: Mutex<HashMap<Option<String>, i64>>,
}

/// Turns that were given, to be remembered once the tasks that got them are written.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    present: i64,
    next: HashMap<Option<&'a str>, i64>,
}

// === impl PlainTurns ===

impl PlainTurns {
    /// The next turn of a project, where `present` is the kind's.
    pub(crate) fn give<'a>(&self, given: &mut Given<'a>, present: i64, project: Option<&'a str>) -> i64 {
        given.present = present;
        let next = given.next.entry(project).or_insert_with(|| {
            let remembered = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let next = remembered.get(&project.map(str::to_owned));
            next.map_or(present, |next| present.max(*next))
        });
        *next += 1;
        *next - 1
    }

    /// To be called when the transaction has been committed.
    pub(crate) fn remember(&self, given: Given<'_>) {
        if given.next.is_empty() {
            return;
        }
        let mut remembered = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // Whose turns are over gets the present one in any case.
        remembered.retain(|_, next| *next > given.present);
        for (project, next) in given.next {
            let known = remembered.entry(project.map(str::to_owned)).or_insert(next);
            *known = next.max(*known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(turns: &PlainTurns, present: i64, projects: &[Option<&'static str>]) -> Vec<i64> {
        let mut given = Given::default();
        let turns_given = projects
            .iter()
            .map(|project| turns.give(&mut given, present, *project))
            .collect();
        turns.remember(given);
        turns_given
    }

    #[test]
    fn a_project_gets_one_turn_after_the_other_and_another_one_the_present() {
        let turns = PlainTurns::default();
        assert_eq!(
            give(&turns, 5, &[Some("a"), Some("a"), Some("b"), Some("a")]),
            [5, 6, 5, 7]
        );
        assert_eq!(give(&turns, 5, &[Some("a"), Some("b"), None]), [8, 6, 5]);
    }

    #[test]
    fn nobody_gets_a_turn_that_is_over() {
        let turns = PlainTurns::default();
        give(&turns, 5, &[Some("a"), None]);
        assert_eq!(give(&turns, 100, &[Some("a"), None]), [100, 100]);
    }

    #[test]
    fn what_was_not_written_took_no_turn() {
        let turns = PlainTurns::default();
        let mut lost = Given::default();
        turns.give(&mut lost, 5, Some("a"));
        assert_eq!(give(&turns, 5, &[Some("a")]), [5]);
    }

    #[test]
    fn who_has_sent_nothing_for_long_is_forgotten() {
        let turns = PlainTurns::default();
        give(&turns, 5, &[Some("a"), Some("b"), Some("b")]);
        give(&turns, 6, &[Some("c")]);
        let remembered = turns.next.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!remembered.contains_key(&Some("a".to_owned())));
        assert_eq!(remembered.get(&Some("b".to_owned())), Some(&7));
    }
}
