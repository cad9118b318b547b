//! How the work on a claim ends. Every write here carries the claim's token.

use std::time::Duration;

use crate::columns::{LONGEST_CONTENT_TYPE, LONGEST_NAME, LONGEST_REASON, cut, millis};
use crate::faces::record_faces;
use crate::joining::{lock_image, settle};
use crate::outputs::record_outputs;
use crate::session::{NewId as _, transaction};
use crate::turn::take_turns;
use crate::{Claim, Error, Fault, NewOutput, Prepared, Recognition, Tasks};

/// What became of a task whose try ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    /// It will be due again.
    Again,
    /// That was its last try.
    Failed,
}

/// Writes to the claimed task, with the parameters of `$set` in order. Gives whether it was still claimed
/// under this token.
macro_rules! update_claimed {
    ($connection:ident, $claim:expr, $set:expr $(, $parameter:expr)*) => {
        sqlx::query(concat!("UPDATE tasks SET ", $set, " WHERE id = ? AND token = ? AND state = 0"))
            $(.bind($parameter))*
            .bind($claim.task_id)
            .bind($claim.token.bytes())
            .execute(&mut *$connection)
            .await?
            .rows_affected()
            == 1
    };
}

/// Writes to the claim's image, with the parameters of `$set` in order.
macro_rules! update_image {
    ($connection:ident, $claim:expr, $set:expr $(, $parameter:expr)*) => {
        sqlx::query(concat!("UPDATE images SET ", $set, ", updated_at = ", now!(), " WHERE id = ?"))
            $(.bind($parameter))*
            .bind($claim.image_id)
            .execute(&mut *$connection)
            .await?
    };
}

/// Writes what the image's status is now: `$set` where this task alone decides, else by all its tasks.
macro_rules! update_status {
    ($connection:ident, $claim:expr, $set:expr $(, $parameter:expr)*) => {
        if $claim.is_alone() {
            update_image!($connection, $claim, $set $(, $parameter)*);
        } else {
            lock_image!($connection, $claim.image_id);
            settle!($connection, $claim.image_id, $claim.batch_id);
        }
    };
}

/// Ends the operation where the claim is not this worker's: well, if the task has ended in `$state` under
/// this very token, because then an earlier call did it and only its answer was lost.
macro_rules! not_claimed {
    ($connection:ident, $claim:expr, $state:literal) => {{
        let ended: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT id FROM tasks WHERE id = ? AND token = ? AND state = ",
            $state
        ))
        .bind($claim.task_id)
        .bind($claim.token.bytes())
        .fetch_optional(&mut *$connection)
        .await?;
        return ended.map(drop).ok_or(Error::LostClaim);
    }};
}

// === impl Tasks ===

impl Tasks {
    /// The work is done: the image is processed, its faces are replaced by these, and people whom nobody
    /// knew are recorded by name.
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn complete(&self, claim: &Claim, recognition: &Recognition) -> Result<(), Error> {
        transaction!(self.database, "complete", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "state = 1, reason = NULL, waiting_for = NULL, model = ?, model_version = ?, ended_at = ",
                    now!()
                ),
                cut(&recognition.model, LONGEST_NAME),
                cut(&recognition.model_version, LONGEST_NAME)
            );
            if !mine {
                not_claimed!(connection, claim, "1");
            }
            if !claim.is_alone() {
                lock_image!(connection, claim.image_id);
            }
            let best = record_faces!(connection, claim.image_id, recognition);
            let person_id = best.map(|(person_id, _)| person_id);
            let distance = best.and_then(|(_, distance)| distance).map(f64::from);
            let (width, height) = (i64::from(recognition.width), i64::from(recognition.height));
            if claim.is_alone() {
                update_image!(
                    connection,
                    claim,
                    "status = 1, reason = NULL, person_id = ?, distance = ?, width = ?, height = ?, \
                     duration_ms = (SELECT ended_at - started_at FROM tasks WHERE tasks.id = ?)",
                    person_id,
                    distance,
                    width,
                    height,
                    claim.task_id
                );
            } else {
                update_image!(
                    connection,
                    claim,
                    "person_id = ?, distance = ?, width = ?, height = ?",
                    person_id,
                    distance,
                    width,
                    height
                );
                settle!(connection, claim.image_id, claim.batch_id);
            }
        })
    }

    /// It is known what the image is, and with that, what is to be done about it: tasks of these kinds, each with its
    /// message. They are recorded in the transaction that ends the task which found them, so a batch is open as long as
    /// anything of it is still to be found.
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn complete_prepare(&self, claim: &Claim, prepared: &Prepared) -> Result<(), Error> {
        transaction!(self.database, "complete_prepare", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "state = 1, reason = NULL, waiting_for = NULL, ended_at = ",
                    now!()
                )
            );
            if !mine {
                not_claimed!(connection, claim, "1");
            }
            lock_image!(connection, claim.image_id);
            update_image!(
                connection,
                claim,
                "content_type = ?, bytes = ?, width = ?, height = ?",
                cut(&prepared.content_type, LONGEST_CONTENT_TYPE),
                i64::try_from(prepared.bytes).unwrap_or(i64::MAX),
                i64::from(prepared.width),
                i64::from(prepared.height)
            );
            let sender_id: Option<i64> = sqlx::query_scalar("SELECT sender_id FROM tasks WHERE id = ?")
                .bind(claim.task_id)
                .fetch_one(&mut *connection)
                .await?;
            for kind in &prepared.tasks {
                let turn = take_turns!(connection, *kind, sender_id, 1_usize);
                let new = sqlx::query(concat!(
                    insert_ignore!(),
                    "tasks (image_id, kind, batch_id, sender_id, turn, params) \
                     SELECT image_id, ?, batch_id, sender_id, ?, params FROM tasks WHERE id = ?"
                ))
                .bind(kind.as_str())
                .bind(turn)
                .bind(claim.task_id)
                .execute(&mut *connection)
                .await?;
                if new.rows_affected() == 1 {
                    sqlx::query("INSERT INTO outbox (topic, subject) VALUES (?, ?)")
                        .bind(kind.topic())
                        .bind(if kind.is_told_by_image() {
                            claim.image_id
                        } else {
                            new.new_id()
                        })
                        .execute(&mut *connection)
                        .await?;
                }
            }
            settle!(connection, claim.image_id, claim.batch_id);
        })
    }

    /// The work is done, and made these outputs.
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn complete_outputs(&self, claim: &Claim, outputs: &[NewOutput]) -> Result<(), Error> {
        transaction!(self.database, "complete_outputs", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "state = 1, reason = NULL, waiting_for = NULL, ended_at = ",
                    now!()
                )
            );
            if !mine {
                not_claimed!(connection, claim, "1");
            }
            lock_image!(connection, claim.image_id);
            record_outputs!(connection, claim, outputs);
            settle!(connection, claim.image_id, claim.batch_id);
        })
    }

    /// Trying again will not help: the task is failed, and with it its image once no other task of it is unfinished.
    /// The reason is one that a person can read (cut at 1,024 bytes).
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn fail(&self, claim: &Claim, fault: Fault, reason: &str) -> Result<(), Error> {
        let reason = cut(reason, LONGEST_REASON);
        transaction!(self.database, "fail", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "state = 2, waiting_for = NULL, fault = ?, reason = ?, ended_at = ",
                    now!()
                ),
                fault.as_str(),
                reason
            );
            if !mine {
                not_claimed!(connection, claim, "2");
            }
            update_status!(connection, claim, "status = 2, reason = ?", reason);
        })
    }

    /// The try ended without success: the task is due again after `delay`, or failed for `why` where this
    /// was try number `max_tries`.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn retry(
        &self,
        claim: &Claim,
        delay: Duration,
        fault: Fault,
        why: &str,
        max_tries: u32,
    ) -> Result<RetryOutcome, Error> {
        let why = cut(why, LONGEST_REASON);
        transaction!(self.database, "retry", |connection| {
            let tries: Option<i64> = sqlx::query_scalar(concat!(
                "SELECT tries FROM tasks WHERE id = ? AND token = ? AND state = 0",
                for_update!()
            ))
            .bind(claim.task_id)
            .bind(claim.token.bytes())
            .fetch_optional(&mut *connection)
            .await?;
            let tries = tries.ok_or(Error::LostClaim)? + 1;

            if tries >= i64::from(max_tries) {
                let _locked = update_claimed!(
                    connection,
                    claim,
                    concat!(
                        "state = 2, tries = ?, claims = claims - 1, fault = ?, reason = ?, ended_at = ",
                        now!()
                    ),
                    tries,
                    fault.as_str(),
                    why
                );
                update_status!(connection, claim, "status = 2, reason = ?", why);
                RetryOutcome::Failed
            } else {
                let _locked = update_claimed!(
                    connection,
                    claim,
                    concat!(
                        "token = NULL, tries = ?, claims = claims - 1, reason = ?, available_at = ",
                        now!(),
                        " + ?"
                    ),
                    tries,
                    why,
                    millis(delay)
                );
                update_status!(connection, claim, "status = 0");
                RetryOutcome::Again
            }
        })
    }

    /// The service that the work needs is away: the task waits for it, due again after `delay`. No try is
    /// used, and the claim is given back.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn wait(&self, claim: &Claim, delay: Duration, service: &str, why: &str) -> Result<(), Error> {
        let (service, why) = (cut(service, LONGEST_NAME), cut(why, LONGEST_REASON));
        transaction!(self.database, "wait", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "token = NULL, claims = claims - 1, waits = waits + 1, started_at = NULL, \
                     waiting_for = ?, reason = ?, available_at = ",
                    now!(),
                    " + ?"
                ),
                service,
                why,
                millis(delay)
            );
            if !mine {
                return Err(Error::LostClaim);
            }
            update_status!(connection, claim, "status = 0");
        })
    }

    /// The service died while it worked on this image, perhaps because of it: as [`Tasks::wait`], but the
    /// claim stays counted, so that an image which kills the service again and again comes to an end.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn interrupted(
        &self,
        claim: &Claim,
        delay: Duration,
        service: &str,
        why: &str,
    ) -> Result<(), Error> {
        let (service, why) = (cut(service, LONGEST_NAME), cut(why, LONGEST_REASON));
        transaction!(self.database, "interrupted", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "token = NULL, waits = waits + 1, waiting_for = ?, reason = ?, available_at = ",
                    now!(),
                    " + ?"
                ),
                service,
                why,
                millis(delay)
            );
            if !mine {
                return Err(Error::LostClaim);
            }
            update_status!(connection, claim, "status = 0");
        })
    }

    /// The worker is shutting down and has not finished: the task is due at once, its turn is what it was, and nothing is
    /// counted.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`]: the task is due when the lease
    /// ends, and the claim stays counted.
    pub async fn release(&self, claim: &Claim) -> Result<(), Error> {
        transaction!(self.database, "release", |connection| {
            let mine = update_claimed!(
                connection,
                claim,
                concat!(
                    "token = NULL, claims = claims - 1, started_at = NULL, lane = 0, available_at = ",
                    now!()
                )
            );
            if !mine {
                return Err(Error::LostClaim);
            }
            update_status!(connection, claim, "status = 0");
        })
    }
}
