//! What one mail about many jobs says.

use askama::Template;
use safelight_database::JobSummary;

use crate::letter::{Letter, plain};

#[derive(Template)]
#[template(path = "digest.txt")]
struct TextDigest<'a> {
    summary: &'a str,
    jobs: &'a [Job],
}

#[derive(Template)]
#[template(path = "digest.html")]
struct HtmlDigest<'a> {
    subject: &'a str,
    summary: &'a str,
    jobs: &'a [Job],
}

/// A job, as the words tell of it.
struct Job {
    name: String,
    more: u64,
    link: String,
    state: String,
    reason: Option<String>,
}

// === impl Letter ===

impl Letter {
    /// Writes a mail about several jobs.
    pub(crate) fn of_jobs(summaries: &[JobSummary], public_url: &str) -> Self {
        let base = public_url.trim_end_matches('/');
        let jobs: Vec<Job> = summaries.iter().map(|summary| Job::new(summary, base)).collect();
        let total = jobs.len();
        let failed = summaries.iter().filter(|summary| summary.failed > 0).count();
        let subject = match failed {
            0 => format!("{total} jobs: all done"),
            _ => format!("{total} jobs: {} done, {failed} with failures", total - failed),
        };
        let summary = format!("{subject}.");
        let text = TextDigest {
            summary: &summary,
            jobs: &jobs,
        };
        let html = HtmlDigest {
            subject: &subject,
            summary: &summary,
            jobs: &jobs,
        };
        // Writing into memory does not fail, and the templates do nothing else.
        let (text, html) = (text.render(), html.render());
        Self {
            text: text.unwrap_or_else(|_| summary.clone()),
            html: html.unwrap_or_default(),
            subject,
            pictures: Vec::new(),
        }
    }
}

// === impl Job ===

impl Job {
    fn new(summary: &JobSummary, base: &str) -> Self {
        let (total, failed) = (summary.images_total, summary.failed);
        Self {
            name: plain(&summary.name),
            more: total.saturating_sub(1),
            link: format!("{base}/images/{}", summary.image_id),
            state: match (total, failed) {
                (_, 0) => "done".to_owned(),
                (1, _) => "failed".to_owned(),
                _ => format!("{failed} of {total} failed"),
            },
            reason: summary.reason.as_deref().filter(|_| failed > 0).map(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(image_id: i64, name: &str, images_total: u64, failed: u64) -> JobSummary {
        JobSummary {
            batch_id: image_id,
            images_total,
            failed,
            image_id,
            name: name.to_owned(),
            reason: (failed > 0).then(|| "it has no frame".to_owned()),
        }
    }

    #[test]
    fn a_digest_has_a_line_for_each_job_that_leads_to_it() {
        let jobs = [job(3, "cat.png", 1, 0), job(4, "<film>.mp4", 3, 1)];
        let letter = Letter::of_jobs(&jobs, "https://safelight.example/");
        assert_eq!(letter.subject, "2 jobs: 1 done, 1 with failures");
        for words in [&letter.text, &letter.html] {
            for expected in [
                "cat.png",
                "https://safelight.example/images/3",
                "https://safelight.example/images/4",
                "and 2 more",
                "1 of 3 failed",
                "it has no frame",
            ] {
                assert!(words.contains(expected), "{expected} is not in:\n{words}");
            }
        }
        assert!(!letter.html.contains("<film>"));
    }
}
