//! What a user does: post paths, look at records.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::eventually;

/// Talks HTTP to a receiver.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

/// An image as the receiver tells of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its id.
    pub id: i64,
    /// Its path.
    pub path: String,
    /// `pending`, `processing`, `processed` or `failed`.
    pub status: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Who is in it.
    pub people: Vec<String>,
}

impl Client {
    /// A client of the receiver at `base`, such as `http://127.0.0.1:8000`.
    pub fn new(base: String) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .expect("a plain client");
        Self { base, http }
    }

    /// Posts one path as `curl -d` would. The status and the body, or `None` where no answer came.
    pub async fn post(&self, path: &str) -> Option<(u16, Value)> {
        self.post_one(&json!({ "path": path })).await
    }

    /// As [`Client::post`], as a job that somebody is told of.
    pub async fn post_for(&self, path: &str, email: &str) -> Option<(u16, Value)> {
        self.post_one(&json!({ "path": path, "email": email })).await
    }

    async fn post_one(&self, posted: &Value) -> Option<(u16, Value)> {
        let request = self.http.post(format!("{}/image/post", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(posted.to_string()).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// Posts until the answer is 202 or 200, as a user's script with retries would. The image's id.
    ///
    /// # Panics
    /// When nothing is accepted for a minute, or the path is refused.
    pub async fn post_until_accepted(&self, path: &str) -> i64 {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            match self.post(path).await {
                Some((200 | 202, body)) => return body["id"].as_i64().expect("an id"),
                Some((status, body)) if (400..500).contains(&status) => panic!("{path}: {status} {body}"),
                _ => assert!(Instant::now() < give_up, "{path} is not accepted"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Posts paths in bulk; the answer's entries.
    pub async fn post_all(&self, paths: &[String]) -> Vec<Value> {
        let entries: Vec<Value> = paths.iter().map(|path| json!({ "path": path })).collect();
        let request = self.http.post(format!("{}/images/post", self.base));
        let answer = request
            .body(json!({ "paths": entries }).to_string())
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 202);
        answer.json().await.expect("a list")
    }

    /// Uploads a file as `curl -F data=@FILE` would, to `/prepare?QUERY`. The status and the body, or `None` where no
    /// answer came.
    pub async fn prepare(&self, name: &str, content: &[u8], query: &str) -> Option<(u16, Value)> {
        self.upload(None, name, content, query).await
    }

    /// As [`Client::prepare`], under an `Idempotency-Key`.
    pub async fn prepare_under(
        &self,
        key: &str,
        name: &str,
        content: &[u8],
        query: &str,
    ) -> Option<(u16, Value)> {
        self.upload(Some(key), name, content, query).await
    }

    async fn upload(
        &self,
        key: Option<&str>,
        name: &str,
        content: &[u8],
        query: &str,
    ) -> Option<(u16, Value)> {
        const BOUNDARY: &str = "------------------------d74496d66958873e";
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"data\"; filename=\"{name}\"\r\n\
             content-type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{BOUNDARY}--\r\n");
        let body = [head.as_bytes(), content, tail.as_bytes()].concat();
        let request = self.http.post(format!("{}/prepare?{query}", self.base));
        let request = request.header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let answer = request.body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// All that the receiver tells of an image.
    pub async fn detail(&self, id: i64) -> Option<Value> {
        let request = self.http.get(format!("{}/images/{id}", self.base));
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        answer.json().await.ok()
    }

    /// What lies behind a link of a detail.
    pub async fn fetch(&self, link: &str) -> Option<Vec<u8>> {
        let answer = self.http.get(format!("{}{link}", self.base)).send().await.ok()?;
        Some(answer.error_for_status().ok()?.bytes().await.ok()?.to_vec())
    }

    /// The record of an image.
    pub async fn image(&self, id: i64) -> Option<Image> {
        let answer = self
            .http
            .get(format!("{}/images/{id}", self.base))
            .send()
            .await
            .ok()?;
        let body: Value = answer.error_for_status().ok()?.json().await.ok()?;
        Some(image(&body))
    }

    /// All records, by id.
    pub async fn images(&self) -> Option<BTreeMap<i64, Image>> {
        let mut all = BTreeMap::new();
        let mut after = 0;
        loop {
            let url = format!("{}/?after={after}&limit=200", self.base);
            let answer = self.http.get(url).send().await.ok()?.error_for_status().ok()?;
            let page: Value = answer.json().await.ok()?;
            let records = page["images"].as_array()?;
            if records.is_empty() {
                return Some(all);
            }
            for record in records.iter().map(image) {
                after = record.id.max(after);
                all.insert(record.id, record);
            }
        }
    }

    /// Waits until everybody who is to be told of the image's job was; all about the image then.
    ///
    /// # Panics
    /// When that is not so after `deadline`.
    pub async fn wait_until_told(&self, id: i64, deadline: Duration) -> Value {
        eventually(&format!("image {id} is told of"), deadline, async || {
            let detail = self.detail(id).await?;
            let told = detail["job"]["notifications"].as_array()?;
            (!told.is_empty() && told.iter().all(|told| told["state"] == "sent")).then_some(detail)
        })
        .await
    }

    /// Waits until every one of `ids` has a final state.
    ///
    /// # Panics
    /// When some have none after `deadline`; the message counts and shows them.
    pub async fn wait_until_final(&self, ids: &[i64], deadline: Duration) -> BTreeMap<i64, Image> {
        let give_up = Instant::now() + deadline;
        let mut open = Vec::new();
        while Instant::now() < give_up {
            if let Some(all) = self.images().await {
                open = ids
                    .iter()
                    .filter(|id| {
                        !all.get(id)
                            .is_some_and(|image| matches!(image.status.as_str(), "processed" | "failed"))
                    })
                    .map(|id| (*id, all.get(id).map(|image| image.status.clone())))
                    .collect();
                if open.is_empty() {
                    return all;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let shown = &open[..open.len().min(10)];
        panic!(
            "{} of {} images have no final state after {deadline:?}: {shown:?}",
            open.len(),
            ids.len()
        );
    }
}

fn image(body: &Value) -> Image {
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let people = body["people"].as_array().into_iter().flatten();
    Image {
        id: body["id"].as_i64().expect("an id"),
        path: text("path").unwrap_or_default(),
        status: text("status").unwrap_or_default(),
        reason: text("reason"),
        people: people
            .filter_map(|person| person.as_str().map(str::to_owned))
            .collect(),
    }
}
