//! The table of [`crate::breaker`], line by line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use super::*;

const GRPC: &str = "application/grpc+proto";

fn request(headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

fn grpc() -> Expected {
    Classifier::default().expect(&request(&[("content-type", GRPC)]))
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

fn response(status: u16, pairs: &[(&'static str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(pairs);
    response
}

fn at_headers(expected: &Expected, response: &Response<()>, over: bool) -> Option<Outcome> {
    expected
        .response(response)
        .at_headers(over)
        .map(|verdict| verdict.outcome)
}

#[test]
fn every_code_has_its_outcome() {
    use Outcome::{Failure, Ignored, Overload, Success};
    // By number, 0 to 16, as the gRPC specification has them.
    let table = [
        Success, Ignored, Failure, Success, Failure, Success, Success, Success, Overload, Success, Success,
        Success, Success, Failure, Failure, Failure, Success,
    ];
    for (number, outcome) in table.into_iter().enumerate() {
        let code = Code::from_i32(i32::try_from(number).unwrap());
        assert_eq!(code_outcome(code, false), outcome, "{code:?}");
        let trailers = headers(&[("grpc-status", &number.to_string())]);
        let judge = grpc().response(&response(200, &[("content-type", GRPC)]));
        assert_eq!(
            judge.at_trailers(&trailers).outcome,
            outcome,
            "{code:?} in the trailers"
        );
        let only = response(
            200,
            &[("content-type", GRPC), ("grpc-status", &number.to_string())],
        );
        assert_eq!(
            at_headers(&grpc(), &only, true),
            Some(outcome),
            "{code:?} in the headers"
        );
    }
}

#[test]
fn a_code_that_grpc_does_not_know_is_a_failure() {
    let judge = grpc().response(&response(200, &[("content-type", GRPC)]));
    for text in ["17", "-1", "", "OK", "99999999999999"] {
        assert_eq!(
            judge.at_trailers(&headers(&[("grpc-status", text)])).outcome,
            Outcome::Failure,
            "{text:?}"
        );
    }
}

#[test]
fn a_response_without_a_status_is_a_failure() {
    let good = response(200, &[("content-type", GRPC)]);
    assert_eq!(at_headers(&grpc(), &good, false), None, "not yet");
    assert_eq!(at_headers(&grpc(), &good, true), Some(Outcome::Failure));
    let judge = grpc().response(&good);
    assert!(judge.at_last_data().is_none());
    assert_eq!(
        judge.at_trailers(&headers(&[("x-other", "1")])).outcome,
        Outcome::Failure
    );
}

#[test]
fn an_answer_that_is_not_grpc_is_judged_by_its_http_status() {
    let html = |status| response(status, &[("content-type", "text/html")]);
    for (status, outcome) in [
        (200, Outcome::Failure),
        (400, Outcome::Failure),
        (401, Outcome::Success),
        (403, Outcome::Success),
        (404, Outcome::Success),
        (429, Outcome::Overload),
        (500, Outcome::Failure),
        (502, Outcome::Failure),
        (503, Outcome::Failure),
    ] {
        assert_eq!(
            at_headers(&grpc(), &html(status), false),
            Some(outcome),
            "{status}"
        );
    }
}

#[test]
fn a_plain_http_request_is_judged_by_the_status_and_its_success_at_the_end() {
    let http = Classifier::default().expect(&request(&[]));
    assert_eq!(
        at_headers(&http, &response(200, &[]), true),
        Some(Outcome::Success)
    );
    assert_eq!(
        at_headers(&http, &response(404, &[]), true),
        Some(Outcome::Success)
    );
    assert_eq!(at_headers(&http, &response(200, &[]), false), None);
    assert_eq!(
        at_headers(&http, &response(503, &[]), false),
        Some(Outcome::Failure)
    );
    assert_eq!(
        at_headers(&http, &response(429, &[]), false),
        Some(Outcome::Overload)
    );
    let judge = http.response(&response(200, &[]));
    assert_eq!(judge.at_last_data().unwrap().outcome, Outcome::Success);
    assert_eq!(
        judge.at_trailers(&headers(&[("x-checksum", "1")])).outcome,
        Outcome::Success
    );
}

#[test]
fn a_deadline_shorter_than_usual_blames_nobody() {
    let judge = |usual: Option<u64>, timeout: &str| {
        let classifier = Classifier {
            usual_deadline: usual.map(Duration::from_secs),
            ..Classifier::default()
        };
        let expected = classifier.expect(&request(&[("content-type", GRPC), ("grpc-timeout", timeout)]));
        let judge = expected.response(&response(200, &[("content-type", GRPC)]));
        judge.at_trailers(&headers(&[("grpc-status", "4")])).outcome
    };
    assert_eq!(judge(Some(30), "100m"), Outcome::Ignored);
    assert_eq!(judge(Some(30), "30S"), Outcome::Failure);
    assert_eq!(judge(Some(30), "40S"), Outcome::Failure);
    assert_eq!(judge(None, "40S"), Outcome::Ignored);
    assert_eq!(judge(Some(30), "nonsense"), Outcome::Failure);
}

#[test]
fn errors_are_judged_by_what_they_are_and_not_by_the_code_made_of_them() {
    let of = |error: &(dyn Error + 'static)| grpc().error(error).outcome;
    let target: Arc<str> = "t".into();
    let late = |short| CallError::DeadlinePassed {
        target: target.clone(),
        allowed: Duration::from_secs(1),
        short,
        sent: true,
    };
    assert_eq!(of(&late(false).into_status()), Outcome::Failure);
    assert_eq!(of(&late(true).into_status()), Outcome::Ignored);
    assert_eq!(
        of(&CallError::TrialRunning {
            target: target.clone()
        }
        .into_status()),
        Outcome::Ignored
    );
    let refused = CallError::NotProcessed {
        target: target.clone(),
        reason: "REFUSED_STREAM".into(),
    };
    assert_eq!(of(&refused.into_status()), Outcome::Overload);
    let away = CallError::NotConnected {
        target: target.clone(),
        reason: "connection refused".into(),
    };
    assert_eq!(of(&away.into_status()), Outcome::Failure);
    let closing = CallError::ConnectionClosed {
        target,
        reason: "connection closed".into(),
    };
    assert_eq!(of(&closing.into_status()), Outcome::Ignored);
    // tonic makes CANCELLED of its own timeout.
    let timeout = Status::from_error(Box::new(crate::grpc::TimeoutExpired(())));
    assert_eq!(timeout.code(), Code::Cancelled);
    assert_eq!(of(&timeout), Outcome::Failure);
    assert_eq!(of(&Status::cancelled("by somebody")), Outcome::Ignored);
    assert_eq!(of(&Status::not_found("no such face")), Outcome::Success);
    assert_eq!(of(&Status::resource_exhausted("full")), Outcome::Overload);
    assert_eq!(of(&Status::ok("and yet an error")), Outcome::Ignored);
    assert_eq!(of(&std::io::Error::other("cable")), Outcome::Failure);
    assert_eq!(
        of(&Status::from(h2::Error::from(h2::Reason::CANCEL))),
        Outcome::Ignored
    );
    assert_eq!(
        of(&Status::from(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM))),
        Outcome::Overload
    );
    assert_eq!(
        of(&Status::from(h2::Error::from(h2::Reason::INTERNAL_ERROR))),
        Outcome::Failure
    );
}

#[test]
fn a_reason_has_the_message_decoded_and_on_one_line() {
    let why = |message: &str| {
        let trailers = headers(&[("grpc-status", "14"), ("grpc-message", message)]);
        let judge = grpc().response(&response(200, &[("content-type", GRPC)]));
        judge.at_trailers(&trailers).why
    };
    assert_eq!(&*why("models%20are%20loading"), "Unavailable: models are loading");
    assert_eq!(&*why("100%25 of caf%C3%A9"), "Unavailable: 100% of café");
    // What is not encoded as it should be is taken as it is.
    assert_eq!(
        &*why("50%, 7%2, %+1, %zz, %"),
        "Unavailable: 50%, 7%2, %+1, %zz, %"
    );
    assert_eq!(&*why("one%0Atwo%1B[31m"), "Unavailable: one two [31m");
    assert_eq!(&*why("cut %E2%82"), "Unavailable: cut \u{fffd}");
}

#[test]
fn a_reason_names_the_code_and_keeps_a_long_message_short() {
    let long = "x".repeat(10_000);
    let trailers = headers(&[("grpc-status", "14"), ("grpc-message", &long)]);
    let judge = grpc().response(&response(200, &[("content-type", GRPC)]));
    let verdict = judge.at_trailers(&trailers);
    assert!(verdict.why.starts_with("Unavailable: xxx"), "{}", verdict.why);
    assert!(verdict.why.len() < 300);
}
