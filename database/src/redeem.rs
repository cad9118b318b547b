//! Putting failed tasks back to work whose reason is one that time may heal.

use std::time::Duration;

use crate::columns::millis;
use crate::dialect::json_ids;
use crate::session::{reading, transaction};
use crate::{Error, TaskKind, Tasks};

/// How many failed tasks one call looks at.
const CHUNK: u32 = 500;

/// Which failed tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeemQuery {
    /// Of these kinds; of all where there is none.
    pub kinds: Vec<TaskKind>,
    /// With one of these faults. [`RedeemQuery::UNKNOWN`] stands for the tasks of which no fault is known.
    pub faults: Vec<String>,
    /// With this text in their reason, whatever the case of its ASCII letters. Tasks of which no fault is known are
    /// found by it whatever `faults` says.
    pub reason: Option<String>,
    /// That failed this long ago or longer, by the database's clock.
    pub older: Duration,
    /// And not longer ago than this.
    pub younger: Duration,
}

/// A place among the failed tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RedeemPosition {
    /// The last one that was seen.
    available_at: i64,
    id: i64,
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedeemableTask {
    /// Its id.
    pub id: i64,
    /// Its image.
    pub image_id: i64,
    /// What was to be done.
    pub kind: TaskKind,
    /// The class of what went wrong; `None` for what failed before faults were written down.
    pub fault: Option<String>,
    /// Why it failed, in words.
    pub reason: Option<String>,
    /// The batch that its image came in with.
    batch_id: Option<i64>,
}

/// What [`Tasks::failed`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPage {
    /// Those that the query asks for; may be empty in the middle.
    pub tasks: Vec<RedeemableTask>,
    /// Where to go on; `None` at the end.
    pub next: Option<RedeemPosition>,
}

/// What [`Tasks::redeem`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redeemed {
    /// The tasks that are ready again by this call.
    pub tasks: Vec<RedeemableTask>,
    /// How many batches are open again, to be told of once more when they join.
    pub reopened: u64,
}

/// A failed task as the database has it.
#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    image_id: i64,
    kind: String,
    batch_id: Option<i64>,
    fault: Option<String>,
    reason: Option<String>,
    available_at: i64,
    ended_ago: Option<i64>,
}

/// The columns of [`Row`].
macro_rules! row_columns {
    () => {
        concat!(
            "tasks.id, tasks.image_id, tasks.kind, tasks.batch_id, tasks.fault, tasks.reason, tasks.available_at, ",
            now!(),
            " - tasks.ended_at AS ended_ago"
        )
    };
}

// === impl RedeemQuery ===

impl RedeemQuery {
    /// Stands among the faults for tasks of which none is known.
    pub const UNKNOWN: &str = "unknown";

    /// Before the first failed task.
    pub fn start(&self) -> RedeemPosition {
        RedeemPosition {
            available_at: i64::MIN,
            id: i64::MIN,
        }
    }

    fn takes_kind(&self, row: &Row) -> bool {
        row.kind()
            .is_some_and(|kind| self.kinds.is_empty() || self.kinds.contains(&kind))
    }

    fn takes(&self, row: &Row) -> bool {
        let Some(ended_ago) = row.ended_ago else {
            return false;
        };
        let in_time = (millis(self.older)..=millis(self.younger)).contains(&ended_ago);
        in_time
            && self.takes_kind(row)
            && self.takes_fault(row.fault.as_deref())
            && self.takes_reason(row.reason.as_deref())
    }

    fn takes_fault(&self, fault: Option<&str>) -> bool {
        let listed = |name| self.faults.iter().any(|fault| fault == name);
        match fault {
            Some(fault) => listed(fault),
            None => listed(RedeemQuery::UNKNOWN) || self.reason.is_some(),
        }
    }

    fn takes_reason(&self, reason: Option<&str>) -> bool {
        let Some(wanted) = &self.reason else {
            return true;
        };
        let reason = reason.unwrap_or_default().to_ascii_lowercase();
        reason.contains(&wanted.to_ascii_lowercase())
    }
}

// === impl Row ===

impl Row {
    /// `None` for what a later version of this program does.
    fn kind(&self) -> Option<TaskKind> {
        TaskKind::ALL.into_iter().find(|kind| kind.as_str() == self.kind)
    }

    fn into_failed(self) -> Option<RedeemableTask> {
        Some(RedeemableTask {
            id: self.id,
            image_id: self.image_id,
            kind: self.kind()?,
            fault: self.fault,
            reason: self.reason,
            batch_id: self.batch_id,
        })
    }
}

// === impl Tasks ===

impl Tasks {
    /// A page of the failed tasks that `query` asks for: of the next 500 failed ones after `position`
    /// ([`RedeemQuery::start`] at first), those that match. Locks nothing. Every failed task is read once on the way
    /// through all pages, in the order of one index.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn failed(&self, query: &RedeemQuery, position: &RedeemPosition) -> Result<FailedPage, Error> {
        let rows: Vec<Row> = reading!(self.database, "failed_tasks", |connection| {
            sqlx::query_as(concat!(
                "SELECT ",
                row_columns!(),
                " FROM ",
                tasks_by_age!(),
                " WHERE state = 2 AND available_at >= ? AND (available_at > ? OR id > ?) \
                 ORDER BY available_at, id LIMIT ?"
            ))
            .bind(position.available_at)
            .bind(position.available_at)
            .bind(position.id)
            .bind(i64::from(CHUNK))
            .fetch_all(&mut *connection)
            .await?
        })?;
        let next = rows.get(CHUNK as usize - 1).map(|last| RedeemPosition {
            available_at: last.available_at,
            id: last.id,
        });
        let tasks = rows
            .into_iter()
            .filter(|row| query.takes(row))
            .filter_map(Row::into_failed)
            .collect();
        Ok(FailedPage { tasks, next })
    }

    /// Puts failed tasks back, as many of `tasks` as are failed still and are still what `query` asks for: each is
    /// ready, as if nobody had tried it, and behind the work that somebody waits for; its image is pending, where it
    /// was failed; and a message tells of it. Its reason stays, until it is done or has another one.
    ///
    /// A batch that has joined stays joined. With `notify` it is open again, and told of once more when its last task
    /// has ended.
    ///
    /// Several may do it at once: each task is put back by one of them. Can be repeated after
    /// [`Error::Unavailable`]; what was put back is then not failed any more, and not among the answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn redeem(
        &self,
        query: &RedeemQuery,
        tasks: &[RedeemableTask],
        notify: bool,
    ) -> Result<Redeemed, Error> {
        if tasks.is_empty() {
            return Ok(Redeemed::default());
        }
        // In one order, so that two who redeem the same tasks do not block each other.
        let mut tasks: Vec<&RedeemableTask> = tasks.iter().collect();
        tasks.sort_unstable_by_key(|task| task.id);
        tasks.dedup_by_key(|task| task.id);
        let asked_for = json_ids(tasks.iter().map(|task| task.id));

        transaction!(self.database, "redeem", |connection| {
            let rows: Vec<Row> = sqlx::query_as(concat!(
                "SELECT ",
                row_columns!(),
                " FROM ",
                chosen!(),
                then_join!(),
                "tasks ON tasks.id = chosen_id WHERE tasks.state = 2",
                for_update!()
            ))
            .bind(&asked_for)
            .fetch_all(&mut *connection)
            .await?;
            let taken: std::collections::HashSet<i64> = rows
                .iter()
                .filter(|row| query.takes(row))
                .map(|row| row.id)
                .collect();
            let redeemed: Vec<RedeemableTask> = tasks
                .iter()
                .filter(|task| taken.contains(&task.id))
                .map(|task| RedeemableTask::clone(task))
                .collect();

            let mut reopened = 0;
            if !redeemed.is_empty() {
                sqlx::query(concat!(
                    update_chosen!(),
                    "tasks",
                    set_chosen!(),
                    "state = 0, claims = 0, tries = 0, token = NULL, waiting_for = NULL, fault = NULL, lane = 1, \
                     started_at = NULL, ended_at = NULL, available_at = ",
                    now!(),
                    where_chosen!(),
                    "state = 2"
                ))
                .bind(json_ids(redeemed.iter().map(|task| task.id)))
                .execute(&mut *connection)
                .await?;

                // An image whose other tasks are under way is not failed, and stays what it is.
                let image_ids: std::collections::BTreeSet<i64> =
                    redeemed.iter().map(|task| task.image_id).collect();
                sqlx::query(concat!(
                    update_chosen!(),
                    "images",
                    set_chosen!(),
                    "status = 0, reason = NULL, duration_ms = NULL, updated_at = ",
                    now!(),
                    where_chosen!(),
                    "status = 2"
                ))
                .bind(json_ids(image_ids))
                .execute(&mut *connection)
                .await?;

                let batch_ids: std::collections::BTreeSet<i64> =
                    redeemed.iter().filter_map(|task| task.batch_id).collect();
                if notify && !batch_ids.is_empty() {
                    // One that is open is told of anyway.
                    let opened = sqlx::query(concat!(
                        update_chosen!(),
                        "batches",
                        set_chosen!(),
                        "joined_at = NULL, round = round + 1",
                        where_chosen!(),
                        "joined_at IS NOT NULL"
                    ))
                    .bind(json_ids(batch_ids))
                    .execute(&mut *connection)
                    .await?;
                    reopened = opened.rows_affected();
                }

                for kind in TaskKind::ALL {
                    let of_kind = redeemed.iter().filter(|task| task.kind == kind);
                    let subjects: Vec<i64> = of_kind.map(RedeemableTask::subject).collect();
                    if !subjects.is_empty() {
                        sqlx::query(concat!(
                            "INSERT INTO outbox (topic, subject) SELECT ?, chosen_id FROM ",
                            chosen!()
                        ))
                        .bind(kind.topic())
                        .bind(json_ids(subjects))
                        .execute(&mut *connection)
                        .await?;
                    }
                }
            }
            Redeemed {
                tasks: redeemed,
                reopened,
            }
        })
    }
}

// === impl RedeemableTask ===

impl RedeemableTask {
    /// What a message about it carries.
    fn subject(&self) -> i64 {
        match self.kind {
            TaskKind::Identify => self.image_id,
            _ => self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(faults: &[&str], reason: Option<&str>) -> RedeemQuery {
        RedeemQuery {
            kinds: Vec::new(),
            faults: faults.iter().map(|fault| (*fault).to_owned()).collect(),
            reason: reason.map(str::to_owned),
            older: Duration::from_secs(10),
            younger: Duration::from_secs(100),
        }
    }

    fn row(fault: Option<&str>, reason: &str, ended_ago: Option<i64>) -> Row {
        Row {
            id: 1,
            image_id: 1,
            kind: TaskKind::Identify.as_str().to_owned(),
            batch_id: None,
            fault: fault.map(str::to_owned),
            reason: Some(reason.to_owned()),
            available_at: 0,
            ended_ago,
        }
    }

    #[test]
    fn a_fault_is_taken_where_it_is_listed() {
        let query = query(&["timeout", "storage"], None);
        assert!(query.takes(&row(Some("storage"), "", Some(50_000))));
        assert!(!query.takes(&row(Some("bad"), "", Some(50_000))));
        assert!(!query.takes(&row(None, "", Some(50_000))));
    }

    #[test]
    fn what_has_no_fault_is_taken_as_unknown_or_by_its_reason() {
        let disk = row(None, "The Disk is full", Some(50_000));
        assert!(query(&["unknown"], None).takes(&disk));
        assert!(query(&["timeout"], Some("disk IS")).takes(&disk));
        assert!(!query(&["unknown"], Some("network")).takes(&disk));
    }

    #[test]
    fn a_reason_narrows_the_faults_and_does_not_widen_them() {
        let query = query(&["storage"], Some("full"));
        assert!(query.takes(&row(Some("storage"), "the disk is full", Some(50_000))));
        assert!(!query.takes(&row(Some("storage"), "the disk is away", Some(50_000))));
        assert!(!query.takes(&row(Some("bad"), "the disk is full", Some(50_000))));
    }

    #[test]
    fn only_what_failed_in_the_time_asked_for_is_taken() {
        let query = query(&["storage"], None);
        let takes = |ended_ago| query.takes(&row(Some("storage"), "", ended_ago));
        assert!(takes(Some(10_000)) && takes(Some(100_000)));
        assert!(!takes(Some(9_999)) && !takes(Some(100_001)) && !takes(None));
    }
}
