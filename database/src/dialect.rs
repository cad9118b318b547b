//! What the two SQL dialects say differently, as fragments for `concat!`.
//!
//! Statements are static text made of these, so that each is prepared once a connection however many rows it
//! is about: lists travel as one JSON parameter. [`mysql!`] and [`sqlite!`] define the same fragments, as
//! macros without parameters, in the scope that follows them; `reading!` and `transaction!` do so for the body
//! they are given.

/// The fragments for MySQL 8 and for MariaDB from 10.6 on.
macro_rules! mysql {
    () => {
        /// The database's clock: the time at which the statement began.
        #[allow(unused_macros)]
        macro_rules! now {
            () => {
                "CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)"
            };
        }
        /// Locks the rows that a `SELECT` returns, waiting for others to end.
        #[allow(unused_macros)]
        macro_rules! for_update {
            () => {
                " FOR UPDATE"
            };
        }
        /// Locks the rows that a `SELECT` returns, passing over those that others have locked.
        #[allow(unused_macros)]
        macro_rules! skip_locked {
            () => {
                " FOR UPDATE SKIP LOCKED"
            };
        }
        /// Passes over rows whose unique key is there already.
        #[allow(unused_macros)]
        macro_rules! insert_ignore {
            () => {
                "INSERT IGNORE INTO "
            };
        }
        /// The tasks of a kind, state and lane by when they are due: a claim must not depend on the optimizer's mood.
        #[allow(unused_macros)]
        macro_rules! tasks_by_lane {
            () => {
                "tasks FORCE INDEX (tasks_lane)"
            };
        }
        /// The tasks of a state, of whatever kind, by when they were due.
        #[allow(unused_macros)]
        macro_rules! tasks_by_age {
            () => {
                "tasks FORCE INDEX (tasks_due)"
            };
        }
        /// The notifications, read by the index that a claim needs.
        #[allow(unused_macros)]
        macro_rules! notifications_by_due {
            () => {
                "notifications FORCE INDEX (notifications_due)"
            };
        }
        /// The notifications, read by the index of their recipients.
        #[allow(unused_macros)]
        macro_rules! notifications_by_recipient {
            () => {
                "notifications FORCE INDEX (notifications_recipient)"
            };
        }
        /// The tasks, read by the index that tells whose turn it is.
        #[allow(unused_macros)]
        macro_rules! tasks_by_turn {
            () => {
                "tasks FORCE INDEX (tasks_turn)"
            };
        }
        /// The outbox, read by the index that a claim needs.
        #[allow(unused_macros)]
        macro_rules! outbox_by_due {
            () => {
                "outbox FORCE INDEX (outbox_due)"
            };
        }
        /// The numbers of a JSON array as the table `chosen (chosen_id)`. One parameter.
        #[allow(unused_macros)]
        macro_rules! chosen {
            () => {
                "JSON_TABLE(?, '$[*]' COLUMNS (chosen_id BIGINT PATH '$')) AS chosen"
            };
        }
        /// The pairs of a JSON array as the table `chosen (chosen_id, chosen_turn)`. One parameter.
        #[allow(unused_macros)]
        macro_rules! chosen_turns {
            () => {
                "JSON_TABLE(?, '$[*]' COLUMNS (chosen_id BIGINT PATH '$[0]', chosen_turn BIGINT PATH '$[1]')) AS chosen"
            };
        }
        /// Takes a sender's next turns of a kind: sender, kind, present turn, number, present turn, number.
        #[allow(unused_macros)]
        macro_rules! take_turns_of_sender {
            () => {
                "INSERT INTO turns (sender_id, kind, next_turn) VALUES (?, ?, ? + ?) \
                 ON DUPLICATE KEY UPDATE next_turn = GREATEST(next_turn, ?) + ?"
            };
        }
        /// Joins what follows to what stands before, in this order.
        #[allow(unused_macros)]
        macro_rules! then_join {
            () => {
                " STRAIGHT_JOIN "
            };
        }
        /// `update_chosen!(), TABLE, set_chosen!(), ASSIGNMENTS, end_chosen!()` updates the rows whose ids stand in
        /// a JSON array, the first parameter.
        #[allow(unused_macros)]
        macro_rules! update_chosen {
            () => {
                "UPDATE JSON_TABLE(?, '$[*]' COLUMNS (chosen_id BIGINT PATH '$')) AS chosen STRAIGHT_JOIN "
            };
        }
        #[allow(unused_macros)]
        macro_rules! set_chosen {
            () => {
                " ON id = chosen_id SET "
            };
        }
        #[allow(unused_macros)]
        macro_rules! end_chosen {
            () => {
                ""
            };
        }
        /// In the place of `end_chosen!()`, where a condition follows.
        #[allow(unused_macros)]
        macro_rules! where_chosen {
            () => {
                " WHERE "
            };
        }
        /// Deletes the messages whose ids stand in a JSON array. One parameter.
        #[allow(unused_macros)]
        macro_rules! delete_from_outbox {
            () => {
                "DELETE outbox FROM JSON_TABLE(?, '$[*]' COLUMNS (chosen_id BIGINT PATH '$')) AS chosen \
                 STRAIGHT_JOIN outbox ON id = chosen_id"
            };
        }
        /// The images of a JSON array as the table `given (position, path, project)`. One parameter.
        #[allow(unused_macros)]
        macro_rules! given {
            () => {
                "JSON_TABLE(?, '$[*]' COLUMNS (position FOR ORDINALITY, \
                 path VARCHAR(4096) CHARACTER SET utf8mb4 PATH '$.path', \
                 project VARCHAR(255) CHARACTER SET utf8mb4 PATH '$.project')) AS given"
            };
        }
        /// Whether a row of `images` has the path of one of `given`.
        #[allow(unused_macros)]
        macro_rules! same_path {
            () => {
                "images.path_hash = UNHEX(SHA2(given.path, 256))"
            };
        }
    };
}

/// The fragments for SQLite. One transaction writes at a time, so there are no row locks to ask for.
macro_rules! sqlite {
    () => {
        #[allow(unused_macros)]
        macro_rules! now {
            () => {
                "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
            };
        }
        #[allow(unused_macros)]
        macro_rules! for_update {
            () => {
                ""
            };
        }
        #[allow(unused_macros)]
        macro_rules! skip_locked {
            () => {
                ""
            };
        }
        #[allow(unused_macros)]
        macro_rules! insert_ignore {
            () => {
                "INSERT OR IGNORE INTO "
            };
        }
        #[allow(unused_macros)]
        macro_rules! tasks_by_lane {
            () => {
                "tasks INDEXED BY tasks_lane"
            };
        }
        #[allow(unused_macros)]
        macro_rules! tasks_by_age {
            () => {
                "tasks INDEXED BY tasks_due"
            };
        }
        #[allow(unused_macros)]
        macro_rules! tasks_by_turn {
            () => {
                "tasks INDEXED BY tasks_turn"
            };
        }
        #[allow(unused_macros)]
        macro_rules! notifications_by_due {
            () => {
                "notifications INDEXED BY notifications_due"
            };
        }
        #[allow(unused_macros)]
        macro_rules! notifications_by_recipient {
            () => {
                "notifications INDEXED BY notifications_recipient"
            };
        }
        #[allow(unused_macros)]
        macro_rules! outbox_by_due {
            () => {
                "outbox INDEXED BY outbox_due"
            };
        }
        #[allow(unused_macros)]
        macro_rules! chosen {
            () => {
                "(SELECT value AS chosen_id FROM json_each(?)) AS chosen"
            };
        }
        #[allow(unused_macros)]
        macro_rules! chosen_turns {
            () => {
                "(SELECT value ->> 0 AS chosen_id, value ->> 1 AS chosen_turn FROM json_each(?)) AS chosen"
            };
        }
        #[allow(unused_macros)]
        macro_rules! take_turns_of_sender {
            () => {
                "INSERT INTO turns (sender_id, kind, next_turn) VALUES (?, ?, ? + ?) \
                 ON CONFLICT (sender_id, kind) DO UPDATE SET next_turn = MAX(next_turn, ?) + ?"
            };
        }
        #[allow(unused_macros)]
        macro_rules! then_join {
            () => {
                " CROSS JOIN "
            };
        }
        #[allow(unused_macros)]
        macro_rules! update_chosen {
            () => {
                "WITH chosen (chosen_id) AS (SELECT value FROM json_each(?)) UPDATE "
            };
        }
        #[allow(unused_macros)]
        macro_rules! set_chosen {
            () => {
                " SET "
            };
        }
        #[allow(unused_macros)]
        macro_rules! end_chosen {
            () => {
                " WHERE id IN (SELECT chosen_id FROM chosen)"
            };
        }
        #[allow(unused_macros)]
        macro_rules! where_chosen {
            () => {
                " WHERE id IN (SELECT chosen_id FROM chosen) AND "
            };
        }
        #[allow(unused_macros)]
        macro_rules! delete_from_outbox {
            () => {
                "DELETE FROM outbox WHERE id IN (SELECT value FROM json_each(?))"
            };
        }
        #[allow(unused_macros)]
        macro_rules! given {
            () => {
                "(SELECT key AS position, value ->> '$.path' AS path, value ->> '$.project' AS project \
                 FROM json_each(?)) AS given"
            };
        }
        #[allow(unused_macros)]
        macro_rules! same_path {
            () => {
                "images.path = given.path"
            };
        }
    };
}

pub(crate) use {mysql, sqlite};

/// Ids as the JSON array that the fragments take.
pub(crate) fn json_ids(ids: impl IntoIterator<Item = i64>) -> String {
    let mut json = String::from("[");
    for id in ids {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&id.to_string());
    }
    json.push(']');
    json
}
