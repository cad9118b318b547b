use std::collections::VecDeque;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use safelight_database::{Channel, Resend};
use safelight_notifier::{Configuration, Secrets};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::road::{PUBLIC_URL, Road, eventually};

pub(crate) const SENT: i64 = 1;
const FAILED: i64 = 2;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLrSw";
const NEWER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// Somebody who is called, on 127.0.0.1: answers as it is told, then with 204, and keeps what it was sent.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    heard: Heard,
}

/// A status and its headers.
pub(crate) type Answer = (StatusCode, &'static [(&'static str, &'static str)]);

#[derive(Clone, Default)]
pub(crate) struct Heard {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    calls: Arc<Mutex<Vec<Called>>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Sink {
    async fn start(answers: &[Answer]) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Sink::serve(listener, address, answers)
    }

    /// One that is reached by this listener.
    pub(crate) fn serve<L>(listener: L, address: SocketAddr, answers: &[Answer]) -> Sink
    where
        L: Listener<Addr = SocketAddr>,
    {
        let heard = Heard::default();
        heard.answers.lock().unwrap().extend(answers);
        let router = Router::new().fallback(hear).with_state(heard.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Sink { address, heard }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn calls(&self) -> Vec<Called> {
        self.heard.calls.lock().unwrap().clone()
    }
}

impl Called {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }
}

async fn hear(State(heard): State<Heard>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.to_string();
    heard.calls.lock().unwrap().push(Called { path, headers, body });
    let answer = heard.answers.lock().unwrap().pop_front();
    let (status, headers) = answer.unwrap_or((StatusCode::NO_CONTENT, &[]));
    let mut answer = status.into_response();
    for (name, value) in headers {
        answer.headers_mut().insert(*name, value.parse().unwrap());
    }
    answer
}

/// What calls 127.0.0.1, too.
fn allowed(road: &Road) -> Configuration {
    signed_with(road, SECRET)
}

fn signed_with(road: &Road, secrets: &str) -> Configuration {
    road.configuration(&[
        "--webhook-secrets",
        secrets,
        "--webhook-allow-nets",
        "127.0.0.0/8,::1",
        "--webhook-allow-http",
        "true",
    ])
}

/// The signature by Python's own HMAC.
fn by_python(secret: &str, called: &Called) -> String {
    let script = "import base64, hashlib, hmac, sys\n\
                  key = base64.b64decode(sys.argv[1].removeprefix('whsec_'))\n\
                  text = f'{sys.argv[2]}.{sys.argv[3]}.{sys.argv[4]}'.encode()\n\
                  print('v1,' + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode(), end='')";
    let output = Command::new("python3")
        .args(["-c", script, secret])
        .args([called.header("webhook-id"), called.header("webhook-timestamp")])
        .arg(std::str::from_utf8(&called.body).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn due_in(road: &Road, id: i64) -> i64 {
    let now = "CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    road.number(&format!(
        "SELECT available_at - {now} FROM notifications WHERE id = {id}"
    ))
    .await
}

#[tokio::test]
async fn an_address_is_called_once_with_a_signature_that_its_secret_verifies() {
    let (road, sink) = (Road::new().await, Sink::start(&[]).await);
    let url = sink.url("/hook?from=safelight");
    let running = road.start(allowed(&road));
    let id = road.job("cat.png", Channel::Webhook, &url).await;
    road.announce(Channel::Webhook, id).await;
    assert_eq!(road.ended(id).await, (SENT, 0, None));
    running.stop().await;

    let calls = sink.calls();
    assert_eq!(calls.len(), 1);
    let called = &calls[0];
    assert_eq!(called.path, "/hook?from=safelight");
    assert_eq!(called.header("host"), sink.address.to_string());
    assert_eq!(called.header("content-type"), "application/json");
    assert!(called.header("webhook-id").starts_with("msg_"));
    let secret = Secrets::parse(SECRET).unwrap().of_address(&url);
    assert_eq!(called.header("webhook-signature"), by_python(&secret, called));

    let body: Value = serde_json::from_slice(&called.body).unwrap();
    let image = road.number("SELECT id FROM images").await;
    assert_eq!(body["type"], "job.joined");
    assert_eq!(body["data"]["images"][0]["name"], "cat.png");
    assert_eq!(
        body["data"]["images"][0]["outputs"][0]["url"],
        format!("{PUBLIC_URL}/images/{image}/outputs/thumbnail-small")
    );
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_verify() {
    let (road, sink) = (Road::new().await, Sink::start(&[]).await);
    let url = sink.url("/");
    let id = road.job("cat.png", Channel::Webhook, &url).await;
    let _running = road.start(signed_with(&road, &format!("{NEWER},{SECRET}")));
    assert_eq!(road.ended(id).await.0, SENT);
    let called = &sink.calls()[0];
    let signatures: Vec<&str> = called.header("webhook-signature").split(' ').collect();
    for (secret, signature) in [NEWER, SECRET].into_iter().zip(signatures) {
        let secret = Secrets::parse(secret).unwrap().of_address(&url);
        assert_eq!(signature, by_python(&secret, called));
    }
}

#[tokio::test]
async fn a_call_that_is_not_taken_is_made_again_with_the_same_id_and_not_before_it_is_welcome() {
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "3600")][..]);
    let broken = (StatusCode::INTERNAL_SERVER_ERROR, &[][..]);
    let (road, sink) = (Road::new().await, Sink::start(&[unavailable, broken]).await);
    let id = road.job("cat.png", Channel::Webhook, &sink.url("/")).await;
    let _running = road.start(allowed(&road));
    for (tries, said, (soonest, latest)) in [(1, "503", (3_590_000, 3_600_000)), (2, "500", (20_000, 33_000))]
    {
        let (_, _, reason) = eventually("a try is counted", async || {
            Some(road.notification(id).await).filter(|found| found.1 == tries)
        })
        .await;
        assert!(reason.unwrap().contains(said));
        let due_in = due_in(&road, id).await;
        assert!((soonest..=latest).contains(&due_in), "{due_in}");
        road.execute("UPDATE notifications SET available_at = 0 WHERE state = 0")
            .await;
    }
    assert_eq!(road.ended(id).await, (SENT, 2, None));
    let calls = sink.calls();
    assert_eq!(calls.len(), 3);
    assert!(
        calls
            .iter()
            .all(|called| called.header("webhook-id") == calls[0].header("webhook-id"))
    );
}

#[tokio::test]
async fn an_address_that_is_gone_is_not_called_again() {
    let (road, sink) = (Road::new().await, Sink::start(&[(StatusCode::GONE, &[])]).await);
    let url = sink.url("/");
    let running = road.start(allowed(&road));
    let first = road.job("cat.png", Channel::Webhook, &url).await;
    let gone = Some("the address asked not to be called again".to_owned());
    assert_eq!(road.ended(first).await, (FAILED, 0, gone.clone()));
    let second = road.job("dog.png", Channel::Webhook, &url).await;
    assert_eq!(road.ended(second).await, (FAILED, 0, gone));
    assert_eq!(sink.calls().len(), 1);

    let notifications = road.database.notifications();
    assert_eq!(
        notifications.resend(first, false).await.unwrap(),
        Resend::Disabled
    );
    assert_eq!(notifications.resend(first, true).await.unwrap(), Resend::Again);
    assert_eq!(road.ended(first).await, (SENT, 0, None));
    let third = road.job("bird.png", Channel::Webhook, &url).await;
    assert_eq!(road.ended(third).await, (SENT, 0, None));
    running.stop().await;
    let ids: Vec<String> = sink
        .calls()
        .iter()
        .map(|called| called.header("webhook-id").to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[1], "the same message again");
    assert_ne!(ids[1], ids[2]);
}

#[tokio::test]
async fn a_private_address_is_refused_unless_it_is_allowed() {
    let (road, sink) = (Road::new().await, Sink::start(&[]).await);
    let _running =
        road.start(road.configuration(&["--webhook-secrets", SECRET, "--webhook-allow-http", "true"]));
    let port = sink.address.port();
    for host in ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let id = road
            .job("cat.png", Channel::Webhook, &format!("http://{host}:{port}/"))
            .await;
        let (state, tries, reason) = road.ended(id).await;
        assert_eq!((state, tries), (FAILED, 0));
        assert!(
            reason.as_deref().unwrap().contains("private network"),
            "{host}: {reason:?}"
        );
    }
    assert!(sink.calls().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = (StatusCode::TEMPORARY_REDIRECT, &[("location", "/elsewhere")][..]);
    let (road, sink) = (Road::new().await, Sink::start(&[elsewhere]).await);
    let id = road.job("cat.png", Channel::Webhook, &sink.url("/")).await;
    let _running = road.start(allowed(&road));
    let (state, _, reason) = eventually("a try is counted", async || {
        Some(road.notification(id).await).filter(|found| found.1 == 1)
    })
    .await;
    assert_eq!(state, 0);
    assert!(reason.unwrap().contains("redirects are not followed"));
    assert_eq!(sink.calls().len(), 1);
}

#[tokio::test]
async fn an_address_that_never_answers_well_is_given_up_after_three_days_of_tries() {
    let broken = (StatusCode::INTERNAL_SERVER_ERROR, &[][..]);
    let (road, sink) = (Road::new().await, Sink::start(&[broken]).await);
    let id = road.job("cat.png", Channel::Webhook, &sink.url("/")).await;
    road.execute("UPDATE notifications SET tries = 11").await;
    let _running = road.start(allowed(&road));
    let (state, _, reason) = road.ended(id).await;
    assert_eq!(state, FAILED);
    assert!(
        reason
            .unwrap()
            .starts_with("given up after three days: it answers 500")
    );
}

#[tokio::test]
async fn one_address_that_hangs_does_not_hold_up_another() {
    let (road, sink) = (Road::new().await, Sink::start(&[]).await);
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let hanging = road.job("cat.png", Channel::Webhook, &url).await;
    let well = road.job("dog.png", Channel::Webhook, &sink.url("/")).await;
    let running = road.start(allowed(&road));
    assert_eq!(road.ended(well).await.0, SENT);
    assert_eq!(road.notification(hanging).await.0, 0);
    drop(running);
}

#[tokio::test]
async fn webhooks_wait_where_there_is_no_secret_to_sign_them_with() {
    let (road, sink) = (Road::new().await, Sink::start(&[]).await);
    let folder = road.folder.path().join("mail");
    let hook = road.job("cat.png", Channel::Webhook, &sink.url("/")).await;
    let mail = road.job("cat.png", Channel::Mail, "a@b.example").await;
    let running = road.start(road.configuration(&["--mail-folder", folder.to_str().unwrap()]));
    assert_eq!(road.ended(mail).await.0, SENT);
    running.stop().await;
    assert_eq!(road.notification(hook).await, (0, 0, None));
    let _running = road.start(allowed(&road));
    assert_eq!(road.ended(hook).await.0, SENT);
}

#[tokio::test]
async fn work_that_runs_at_the_end_is_given_back() {
    let road = Road::new().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let id = road.job("cat.png", Channel::Webhook, &url).await;
    let mut configuration = allowed(&road);
    configuration.settings.drain = Duration::from_millis(50);
    let running = road.start(configuration);
    let _connection = silent.accept().await.unwrap();
    running.stop().await;
    assert_eq!(road.notification(id).await, (0, 0, None));
    let claims = road.number("SELECT claims FROM notifications").await;
    let held = road.number("SELECT token IS NOT NULL FROM notifications").await;
    assert_eq!((claims, held), (0, 0));
}
