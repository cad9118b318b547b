//! What one message about many jobs tells of each.

use std::collections::HashMap;

use crate::dialect::json_ids;
use crate::session::reading;
use crate::{Error, Notifications, Status};

/// What became of a job, in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSummary {
    /// The job.
    pub batch_id: i64,
    /// How many images it has.
    pub images_total: u64,
    /// How many of them failed, at least in part.
    pub failed: u64,
    /// The first image that failed, else the first.
    pub image_id: i64,
    /// What its sender called it, else the last part of its path. Anything may stand in it.
    pub name: String,
    /// Why it failed.
    pub reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct ImageRow {
    id: i64,
    path: String,
    name: Option<String>,
    reason: Option<String>,
}

// === impl Notifications ===

impl Notifications {
    /// What is to be told of each of these jobs, in this order. Jobs that are no more, and those without images, are
    /// left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn summaries(&self, batch_ids: &[i64]) -> Result<Vec<JobSummary>, Error> {
        let (counts, images) = reading!(self.database, "summaries", |connection| {
            let counts: Vec<(i64, i64, i64, i64)> = sqlx::query_as(concat!(
                "SELECT batch_id, status, COUNT(*), MIN(id) FROM ",
                chosen!(),
                then_join!(),
                "images ON batch_id = chosen_id GROUP BY batch_id, status"
            ))
            .bind(json_ids(batch_ids.iter().copied()))
            .fetch_all(&mut *connection)
            .await?;
            let images: Vec<ImageRow> = sqlx::query_as(concat!(
                "SELECT id, path, name, reason FROM ",
                chosen!(),
                then_join!(),
                "images ON id = chosen_id"
            ))
            .bind(json_ids(counts.iter().map(|(_, _, _, first)| *first)))
            .fetch_all(&mut *connection)
            .await?;
            (counts, images)
        })?;

        let images: HashMap<i64, ImageRow> = images.into_iter().map(|image| (image.id, image)).collect();
        let mut summaries: HashMap<i64, JobSummary> = HashMap::new();
        for (batch_id, status, count, first) in counts {
            let Some(image) = images.get(&first) else { continue };
            let count = u64::try_from(count).unwrap_or(0);
            let failed = Status::from_number(status)? == Status::Failed;
            let summary = summaries.entry(batch_id).or_insert_with(|| image.begin(batch_id));
            summary.images_total += count;
            if failed {
                summary.failed = count;
            }
            if failed || (summary.failed == 0 && first < summary.image_id) {
                image.tell(summary);
            }
        }
        Ok(batch_ids.iter().filter_map(|id| summaries.remove(id)).collect())
    }
}

// === impl ImageRow ===

impl ImageRow {
    fn begin(&self, batch_id: i64) -> JobSummary {
        let mut summary = JobSummary {
            batch_id,
            images_total: 0,
            failed: 0,
            image_id: self.id,
            name: String::new(),
            reason: None,
        };
        self.tell(&mut summary);
        summary
    }

    fn tell(&self, summary: &mut JobSummary) {
        summary.image_id = self.id;
        summary.name = called(self.name.clone(), &self.path);
        summary.reason = self.reason.clone();
    }
}

/// What a file is called: by its sender, else by the last part of its path.
pub(crate) fn called(name: Option<String>, path: &str) -> String {
    let last = path.trim_end_matches('/').rsplit('/').next();
    name.unwrap_or_else(|| last.unwrap_or_default().to_owned())
}
