//! The record of every image: migrations, stores and the outbox, for MySQL and SQLite.
//!
//! This is the one crate that speaks SQL. [`Database`] is the connection; each store it gives out is one
//! concern, named after its tables: [`Images`], [`Tasks`], [`Batches`], [`Outbox`], [`Uploads`], [`Notifications`],
//! [`People`], and on SQLite the [`EmbeddedQueue`]. MySQL 8, MariaDB from 10.6 on, and SQLite give the same model and
//! the same behavior.
//!
//! # What holds for every call
//! - It is one transaction, or one statement. What it did is durable when it returns `Ok`.
//! - It ends: within the time for a connection plus the time for an operation ([`Options`]), with
//!   [`Error::Unavailable`] where the database did not answer.
//! - Dropping its future is safe. The transaction is then either committed or not, as after a connection
//!   that broke at the commit, and the connection it used is closed. Calls are made so that they can be
//!   repeated after that: [`Images::accept`] goes by path, and the end of work by the claim's token.
//! - Deadlocks are repeated inside, a few times.
//!
//! Times are milliseconds since the Unix epoch. Where a due time or a lease is compared, the clock is the
//! database's (on SQLite that is the machine's), so the clocks of workers need not agree.

mod accept;
mod args;
mod batch_record;
mod batches;
mod claim;
mod columns;
mod connect;
mod correspondence;
mod dialect;
mod embedded_queue;
mod ending;
mod error;
mod faces;
mod images;
mod job_report;
mod job_summary;
mod joining;
mod listing;
mod migrate;
mod notifications;
mod outbox;
mod outputs;
mod people;
mod redeem;
mod resending;
mod session;
mod status;
mod taking;
mod tasks;
mod telling;
mod turn;
mod uploads;

pub use accept::{Accepted, NewImage};
pub use args::DatabaseArgs;
pub use batch_record::{BatchRecord, NotificationRecord, NotificationState};
pub use batches::{NewBatch, NewUpload};
pub use claim::{Claim, ClaimOutcome, DueClaims, MAX_CLAIMS, Token};
pub use connect::{Database, Options};
pub use correspondence::Correspondence;
pub use embedded_queue::{EmbeddedMessage, EmbeddedQueue};
pub use ending::RetryOutcome;
pub use error::{Error, Outage};
pub use faces::{FaceRecord, NewFace, NewMatch, Recognition};
pub use images::{Counts, ImageDetail, ImageRecord, Images};
pub use job_report::{FailedTask, JobReport, ReportedImage, ReportedOutput};
pub use job_summary::JobSummary;
pub use joining::Batches;
pub use listing::ListQuery;
pub use notifications::{Channel, NotificationClaim, NotificationOutcome, Notifications};
pub use outbox::{Outbox, OutboxEntry};
pub use outputs::{NewOutput, OutputRecord, Prepared};
pub use people::{EnrolledSample, People, Person, Sample};
pub use redeem::{FailedPage, RedeemPosition, RedeemQuery, RedeemableTask, Redeemed};
pub use resending::{ListedNotification, NotificationQuery, Resend};
pub use status::{Fault, Status, TaskKind, TaskState};
pub use tasks::{Backlog, TaskRecord, Tasks};
pub use uploads::{UnderKey, Uploads};

/// The topic of the messages that [`Images::accept`] leaves in the outbox.
pub const TOPIC_IMAGES: &str = "images";
/// The topic of the messages that a mail is to be sent; they carry the notification's id.
pub const TOPIC_MAIL: &str = "mail";
/// The topic of the messages that a webhook is to be called; they carry the notification's id.
pub const TOPIC_WEBHOOK: &str = "webhook";
