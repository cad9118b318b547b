//! The states of images and tasks, and their numbers in the database.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, TOPIC_IMAGES};

/// How far an image is. The numbers are a contract with other programs that read the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i64)]
pub enum Status {
    /// Accepted; nobody works on it.
    Pending = 0,
    /// Its work is done, also where nobody known was found in it.
    Processed = 1,
    /// It cannot be processed, or its tries are used up; it has a reason.
    Failed = 2,
    /// A worker holds it.
    Processing = 3,
}

/// A kind of work on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Finding out who is in it.
    Identify,
    /// Finding out by its content what it is, and with that, what is to be done about it.
    Prepare,
    /// Making small pictures of it.
    Thumbnail,
    /// Making a picture of one frame of it.
    Frame,
    /// Making an animated GIF of its beginning.
    Gif,
}

/// Why a task failed, by what may heal it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// The file: damaged, or nothing that can be worked on.
    Bad,
    /// The file is too large, too long, or takes too much.
    Limit,
    /// It crashed its worker every time.
    Crashed,
    /// No answer came in time.
    Timeout,
    /// The store, or where the file lies.
    Storage,
    /// Whoever worked on it.
    Internal,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i64)]
pub enum TaskState {
    /// To be done; due when its time has come. A task that a worker holds is ready too, due when its lease
    /// ends.
    Ready = 0,
    /// Done.
    Done = 1,
    /// Given up; it has a reason.
    Failed = 2,
}

// === impl Status ===

impl Status {
    /// Its name in HTTP answers and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Processed => "processed",
            Status::Failed => "failed",
            Status::Processing => "processing",
        }
    }

    /// Whether nothing will change any more by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Processed | Status::Failed)
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn from_number(number: i64) -> Result<Status, Error> {
        match number {
            0 => Ok(Status::Pending),
            1 => Ok(Status::Processed),
            2 => Ok(Status::Failed),
            3 => Ok(Status::Processing),
            _ => Err(Error::Other(
                format!("an image has the unknown status {number}").into(),
            )),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Error;

    fn from_str(name: &str) -> Result<Status, Error> {
        [
            Status::Pending,
            Status::Processed,
            Status::Failed,
            Status::Processing,
        ]
        .into_iter()
        .find(|status| status.as_str() == name)
        .ok_or_else(|| {
            Error::Invalid("unknown status, expected pending, processing, processed or failed".to_owned())
        })
    }
}

// === impl TaskKind ===

impl TaskKind {
    /// All of them.
    pub const ALL: [TaskKind; 5] = [
        TaskKind::Identify,
        TaskKind::Prepare,
        TaskKind::Thumbnail,
        TaskKind::Frame,
        TaskKind::Gif,
    ];

    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskKind::Identify => "identify",
            TaskKind::Prepare => "prepare",
            TaskKind::Thumbnail => "thumbnail",
            TaskKind::Frame => "frame",
            TaskKind::Gif => "gif",
        }
    }

    /// The topic of the messages that tell of such tasks.
    pub fn topic(self) -> &'static str {
        match self {
            TaskKind::Identify => TOPIC_IMAGES,
            _ => self.as_str(),
        }
    }

    /// Whether those messages carry the image's id: they do for [`TaskKind::Identify`], as other programs send and
    /// read them. All others carry the task's.
    pub fn is_told_by_image(self) -> bool {
        self == TaskKind::Identify
    }
}

// === impl Fault ===

impl Fault {
    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Bad => "bad",
            Fault::Limit => "limit",
            Fault::Crashed => "crashed",
            Fault::Timeout => "timeout",
            Fault::Storage => "storage",
            Fault::Internal => "internal",
        }
    }
}

// === impl TaskState ===

impl TaskState {
    pub(crate) fn from_number(number: i64) -> Result<TaskState, Error> {
        match number {
            0 => Ok(TaskState::Ready),
            1 => Ok(TaskState::Done),
            2 => Ok(TaskState::Failed),
            _ => Err(Error::Other(
                format!("a task has the unknown state {number}").into(),
            )),
        }
    }
}
