//! What a mail about a job says.

use askama::Template;
use safelight_database::{JobReport, ReportedImage, ReportedOutput, Status};

/// The longest subject, in characters.
const LONGEST_SUBJECT: usize = 150;
/// The longest name or reason, in characters.
const LONGEST_TEXT: usize = 500;

/// The role of the output that is shown in the mail itself.
const SHOWN: &str = "thumbnail-small";
/// The most pictures that are shown.
pub(crate) const MOST_SHOWN: usize = 3;
/// The largest of them, in bytes.
pub(crate) const LARGEST_SHOWN: u64 = 64 * 1024;

/// A mail's words, and the pictures that are to be shown in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) pictures: Vec<Picture>,
}

/// A picture that is shown in a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    /// What the words call it.
    pub(crate) content_id: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// The output of a job that could be shown in its mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Showable {
    pub(crate) image_id: i64,
    pub(crate) uri: String,
    pub(crate) content_type: String,
}

#[derive(Template)]
#[template(path = "letter.txt")]
struct TextLetter<'a> {
    summary: &'a str,
    files: &'a [File],
    more: u64,
}

#[derive(Template)]
#[template(path = "letter.html")]
struct HtmlLetter<'a> {
    subject: &'a str,
    summary: &'a str,
    files: &'a [File],
    more: u64,
}

/// A file, as the words tell of it.
struct File {
    name: String,
    link: String,
    state: &'static str,
    reasons: Vec<String>,
    outputs: Vec<Output>,
    people: Vec<String>,
    /// The Content-ID of its picture.
    shown: Option<String>,
}

struct Output {
    what: String,
    link: String,
    facts: String,
}

/// What can be shown of a job: its first small thumbnails that are no larger than a mail bears.
pub(crate) fn showable(report: &JobReport) -> Vec<Showable> {
    let mut showable = Vec::new();
    for image in &report.images {
        let outputs = image.outputs.iter();
        let mut fitting = outputs.filter(|output| {
            output.role == SHOWN
                && output.bytes <= LARGEST_SHOWN
                && matches!(
                    &*output.content_type,
                    "image/png" | "image/jpeg" | "image/gif" | "image/webp"
                )
        });
        if showable.len() < MOST_SHOWN
            && let Some(output) = fitting.next()
        {
            showable.push(Showable {
                image_id: image.id,
                uri: output.uri.clone(),
                content_type: output.content_type.clone(),
            });
        }
    }
    showable
}

// === impl Letter ===

impl Letter {
    /// Writes a mail about a job. `public_url` is where the pages are; `pictures` goes with its image's id.
    pub(crate) fn of_job(report: &JobReport, public_url: &str, pictures: Vec<(i64, Picture)>) -> Self {
        let base = public_url.trim_end_matches('/');
        let mut files = Vec::with_capacity(report.images.len());
        for image in &report.images {
            let shown = pictures.iter().find(|(id, _)| *id == image.id);
            files.push(File::new(image, base, shown.map(|(_, picture)| picture)));
        }
        let told = report.images.len() as u64;
        let more = report.images_total.saturating_sub(told);
        let (subject, summary) = headline(report);
        let words = (
            TextLetter {
                summary: &summary,
                files: &files,
                more,
            }
            .render(),
            HtmlLetter {
                subject: &subject,
                summary: &summary,
                files: &files,
                more,
            }
            .render(),
        );
        // Writing into memory does not fail, and the templates do nothing else.
        let text = words.0.unwrap_or_else(|_| summary.clone());
        let html = words.1.unwrap_or_default();
        Self {
            subject,
            text,
            html,
            pictures: pictures.into_iter().map(|(_, picture)| picture).collect(),
        }
    }
}

/// The subject, and the first sentence.
fn headline(report: &JobReport) -> (String, String) {
    let (total, done, failed) = (report.images_total, report.processed, report.failed);
    match report.images.as_slice() {
        [only] if total == 1 => {
            let name = plain(&only.name);
            let (short, long) = match only.status {
                Status::Failed if only.outputs.is_empty() => ("failed", "could not be worked on"),
                Status::Failed => ("done in part", "is done in part"),
                _ => ("done", "is done"),
            };
            (
                cut(&format!("{short}: {name}"), LONGEST_SUBJECT),
                format!("{name} {long}."),
            )
        }
        _ => {
            let counted = if failed == 0 {
                format!("{total} files: all done")
            } else {
                format!("{total} files: {done} done, {failed} failed")
            };
            (counted.clone(), format!("{counted}."))
        }
    }
}

// === impl File ===

impl File {
    fn new(image: &ReportedImage, base: &str, shown: Option<&Picture>) -> Self {
        let mut reasons: Vec<String> = Vec::new();
        for task in &image.failed_tasks {
            let why = task.reason.as_deref().unwrap_or("no reason was given");
            reasons.push(format!("{}: {}", plain(&task.kind), plain(why)));
        }
        if let (true, Some(reason)) = (reasons.is_empty(), &image.reason) {
            reasons.push(plain(reason));
        }
        Self {
            name: plain(&image.name),
            link: format!("{base}/images/{}", image.id),
            state: match image.status {
                Status::Processed => "done",
                Status::Failed => "failed",
                Status::Pending | Status::Processing => "not finished",
            },
            reasons,
            outputs: image
                .outputs
                .iter()
                .map(|output| Output::new(image.id, output, base))
                .collect(),
            people: image.people.iter().map(|name| plain(name)).collect(),
            shown: shown.map(|picture| picture.content_id.clone()),
        }
    }
}

// === impl Output ===

impl Output {
    fn new(image_id: i64, output: &ReportedOutput, base: &str) -> Self {
        let size = match (output.width, output.height) {
            (Some(width), Some(height)) => format!("{width} × {height}, "),
            _ => String::new(),
        };
        Self {
            what: plain(&output.role.replace('-', " ")),
            link: output_link(base, image_id, &output.role),
            facts: format!("{size}{} kB", output.bytes.div_ceil(1000)),
        }
    }
}

/// Where an output is shown.
pub(crate) fn output_link(base: &str, image_id: i64, role: &str) -> String {
    format!("{base}/images/{image_id}/outputs/{}", in_a_path(role))
}

/// A role as a part of a path: what is no plain word of ours is written as `%XX`.
fn in_a_path(role: &str) -> String {
    let mut path = String::with_capacity(role.len());
    for byte in role.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

/// Text of others on one line: without control characters, and without those that change the direction of what
/// follows.
pub(crate) fn plain(text: &str) -> String {
    let spaced = |character: char| {
        let turns =
            matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
        if turns || breaks { ' ' } else { character }
    };
    let spaced: String = text.chars().map(spaced).collect();
    cut(spaced.trim(), LONGEST_TEXT)
}

fn cut(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use safelight_database::FailedTask;

    use super::*;

    pub(crate) fn image(id: i64, name: &str) -> ReportedImage {
        ReportedImage {
            id,
            name: name.to_owned(),
            status: Status::Processed,
            reason: None,
            content_type: Some("image/png".to_owned()),
            outputs: vec![ReportedOutput {
                role: SHOWN.to_owned(),
                uri: "/store/output/1/cat_t.png".to_owned(),
                content_type: "image/png".to_owned(),
                width: Some(120),
                height: Some(80),
                bytes: 4000,
            }],
            failed_tasks: Vec::new(),
            people: Vec::new(),
        }
    }

    pub(crate) fn report(images: Vec<ReportedImage>) -> JobReport {
        let failed = images.iter().filter(|image| image.status == Status::Failed);
        let failed = failed.count() as u64;
        JobReport {
            batch_id: 7,
            created_at_ms: 0,
            joined_at_ms: Some(1),
            images_total: images.len() as u64,
            processed: images.len() as u64 - failed,
            failed,
            images,
        }
    }

    fn letter(images: Vec<ReportedImage>) -> Letter {
        Letter::of_job(&report(images), "https://safelight.example/", Vec::new())
    }

    #[test]
    fn a_letter_leads_to_the_page_and_to_what_was_made_and_never_names_the_store() {
        let letter = letter(vec![image(3, "cat.png")]);
        assert_eq!(letter.subject, "done: cat.png");
        for words in [&letter.text, &letter.html] {
            assert!(words.contains("https://safelight.example/images/3"), "{words}");
            let output = "https://safelight.example/images/3/outputs/thumbnail-small";
            assert!(words.contains(output), "{words}");
            assert!(!words.contains("/store/"), "{words}");
        }
    }

    #[test]
    fn what_failed_is_told_with_its_reason() {
        let mut failed = image(4, "film.mp4");
        failed.status = Status::Failed;
        failed.failed_tasks = vec![FailedTask {
            kind: "gif".to_owned(),
            reason: Some("it has no frame".to_owned()),
        }];
        let letter = letter(vec![image(3, "cat.png"), failed]);
        assert_eq!(letter.subject, "2 files: 1 done, 1 failed");
        assert!(letter.text.contains("gif: it has no frame"), "{}", letter.text);
        assert!(letter.html.contains("gif: it has no frame"), "{}", letter.html);
    }

    #[test]
    fn a_file_that_was_refused_says_so_in_the_subject() {
        let mut refused = image(4, "notes.png");
        refused.status = Status::Failed;
        refused.outputs.clear();
        refused.reason = Some("is neither a picture nor a film".to_owned());
        let letter = letter(vec![refused]);
        assert_eq!(letter.subject, "failed: notes.png");
        assert!(letter.text.contains("is neither a picture nor a film"));
    }

    #[test]
    fn a_name_stays_on_its_line_and_is_no_markup() {
        let letter = letter(vec![image(3, "a\r\nBcc: x@y.z\u{202e}<script>.png")]);
        assert!(!letter.subject.contains(['\r', '\n', '\u{202e}']));
        assert!(!letter.html.contains("<script>"), "{}", letter.html);
        assert!(
            letter.text.contains("a  Bcc: x@y.z <script>.png"),
            "{}",
            letter.text
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        let letter = letter(vec![image(3, &"ä".repeat(4096))]);
        assert_eq!(letter.subject.chars().count(), LONGEST_SUBJECT + 1);
        assert!(letter.text.chars().count() < 4096);
    }

    #[test]
    fn three_small_pictures_are_shown_at_most_and_no_large_one() {
        let mut large = image(1, "large.png");
        large.outputs[0].bytes = LARGEST_SHOWN + 1;
        let mut images = vec![large];
        images.extend((2..8).map(|id| image(id, "cat.png")));
        let shown: Vec<i64> = showable(&report(images)).iter().map(|one| one.image_id).collect();
        assert_eq!(shown, [2, 3, 4]);
    }
}
