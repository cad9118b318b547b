//! One file on its way to the receiver.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Deserialize;

use super::form::Form;
use super::retry::{Retry, is_passing};
use crate::terminal::printable_cut;

/// Under one of these the receiver records one upload, however often it is sent.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// An upload of which the receiver has taken nothing for so long is given up and begun anew.
const STALLED: Duration = Duration::from_secs(300);
/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 * 1024;
/// How much of an answer that is no JSON is shown, in characters.
const LONGEST_SHOWN: usize = 200;

/// The receiver, as this program speaks to it.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    client: Client,
    /// Without a slash at the end.
    url: String,
    /// What goes behind `/prepare`.
    query: Vec<(&'static str, String)>,
    tries: u32,
}

/// What the receiver says of a file that it took.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Taken {
    pub(crate) id: i64,
    pub(crate) path: String,
    pub(crate) status: String,
}

/// An `application/problem+json` answer.
#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
    #[serde(default)]
    detail: String,
}

/// Why a try brought nothing.
#[derive(Debug)]
enum Failure {
    /// The same would be answered again.
    Final(String),
    /// Another try may be answered.
    Passing {
        why: String,
        asked_for: Option<Duration>,
    },
}

// === impl Receiver ===

impl Receiver {
    /// `query` is what every upload carries behind its address.
    ///
    /// # Errors
    /// Where no client can be made.
    pub(crate) fn new(
        url: &str,
        query: Vec<(&'static str, String)>,
        tries: u32,
    ) -> Result<Receiver, reqwest::Error> {
        Ok(Receiver {
            client: Client::builder()
                .connect_timeout(Duration::from_secs(10))
                .build()?,
            url: url.trim_end_matches('/').to_owned(),
            query,
            tries,
        })
    }

    /// Uploads a file, trying again where the receiver is away or busy or its answer was lost; it is recorded once all the
    /// same. What was sent of it is added up in `sent`, from nothing at each try.
    ///
    /// # Errors
    /// Why it was not taken, in words.
    pub(crate) async fn upload(&self, path: &Path, sent: &Arc<AtomicU64>) -> Result<Taken, String> {
        let idempotency_key = format!("{:032x}", rand::random::<u128>());
        self.persist(self.tries, async || {
            sent.store(0, Ordering::Relaxed);
            let form = Form::open(path, Arc::clone(sent))
                .await
                .map_err(|error| Failure::Final(error.to_string()))?;
            let url = Url::parse_with_params(&format!("{}/prepare", self.url), &self.query)
                .map_err(|error| Failure::Final(error.to_string()))?;
            let request = self
                .client
                .post(url)
                .header(CONTENT_TYPE, form.content_type())
                .header(IDEMPOTENCY_KEY, &idempotency_key)
                .body(reqwest::Body::wrap(form));
            let response = tokio::select! {
                response = request.send() => response.map_err(Failure::broken)?,
                () = stalled(sent, STALLED) => return Err(Failure::Passing {
                    why: format!("the receiver took nothing for {} s", STALLED.as_secs()),
                    asked_for: None,
                }),
            };
            answer(response).await
        })
        .await
    }

    /// The record of an image, as `GET /images/{id}` gives it. Is tried until there is an answer: what was taken is not
    /// lost because the receiver is away.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn record<R: for<'de> Deserialize<'de>>(&self, id: i64) -> Result<R, String> {
        self.persist(u32::MAX, async || {
            let request = self
                .client
                .get(format!("{}/images/{id}", self.url))
                .timeout(Duration::from_secs(15));
            answer(request.send().await.map_err(Failure::broken)?).await
        })
        .await
    }

    /// Tries until there is an answer, or tries are used up.
    async fn persist<T>(
        &self,
        tries: u32,
        attempt: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T, String> {
        let mut retry = Retry::new(tries);
        loop {
            let (why, asked_for) = match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(why)) => return Err(why),
                Err(Failure::Passing { why, asked_for }) => (why, asked_for),
            };
            match retry.fail(asked_for, rand::random()) {
                Some(pause) => {
                    tracing::warn!(%why, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                }
                None => return Err(format!("{why} (tries: {})", retry.failed())),
            }
        }
    }
}

// === impl Failure ===

impl Failure {
    /// No answer came.
    fn broken(error: reqwest::Error) -> Failure {
        let mut why = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            why = format!("{why}: {error}");
            cause = error.source();
        }
        Failure::Passing { why, asked_for: None }
    }
}

/// Ends when nothing more has been sent for `limit`.
async fn stalled(sent: &AtomicU64, limit: Duration) {
    loop {
        let before = sent.load(Ordering::Relaxed);
        tokio::time::sleep(limit).await;
        if sent.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// What an answer says.
async fn answer<R: for<'de> Deserialize<'de>>(mut response: Response) -> Result<R, Failure> {
    let status = response.status();
    let asked_for = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::broken)? {
        // A record is as long as it is; of an error the beginning is enough.
        if !status.is_success() && body.len() >= LONGEST_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|error| Failure::Final(format!("not an answer of a receiver: {error}")));
    }
    let why = said(status, &body);
    if is_passing(status) {
        Err(Failure::Passing { why, asked_for })
    } else {
        Err(Failure::Final(why))
    }
}

/// What an error answer says, in one line.
fn said(status: StatusCode, body: &[u8]) -> String {
    let said = match serde_json::from_slice::<Problem>(body) {
        Ok(Problem { title, detail }) if detail.is_empty() => title,
        Ok(Problem { title, detail }) => format!("{title}: {detail}"),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            format!("{status} {}", printable_cut(text.trim(), LONGEST_SHOWN))
        }
    };
    said.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_words_of_the_receiver() {
        let body = br#"{"type": "urn:x", "title": "no file", "status": 422, "detail": "send one as data"}"#;
        assert_eq!(
            said(StatusCode::UNPROCESSABLE_ENTITY, body),
            "no file: send one as data"
        );
        assert_eq!(
            said(StatusCode::NOT_FOUND, b"{\"title\": \"no such address\"}"),
            "no such address"
        );
        assert_eq!(
            said(StatusCode::BAD_GATEWAY, b"<html>\x1b[2J</html>\n"),
            "502 Bad Gateway <html> [2J</html>"
        );
        assert_eq!(said(StatusCode::BAD_GATEWAY, b""), "502 Bad Gateway");
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_is_stalled_when_nothing_more_was_sent_for_a_while() {
        let sent = Arc::new(AtomicU64::new(0));
        let begun = tokio::time::Instant::now();
        let sender = Arc::clone(&sent);
        let sending = async move {
            for _ in 0..3 {
                tokio::time::sleep(STALLED / 2).await;
                sender.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::join!(sending, stalled(&sent, STALLED));
        assert_eq!(begun.elapsed(), STALLED * 3);
    }
}
