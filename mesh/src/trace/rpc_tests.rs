#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Mutex, PoisonError};

use super::super::recorder::{Finished, Recorder, SpanStatus};
use super::*;

/// Keeps what it is given.
#[derive(Default)]
struct Kept(Mutex<Vec<Finished>>);

// === impl Kept ===

impl Kept {
    fn only(&self) -> Finished {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(kept.len(), 1, "{kept:?}");
        kept[0].clone()
    }
}

impl Recorder for Kept {
    fn record(&self, span: Finished) {
        self.0.lock().unwrap().push(span);
    }
}

fn sampled(flags: u8) -> Context {
    Context {
        flags,
        ..Context::root()
    }
}

/// A call of this kind, and where it is kept when it has ended.
fn call(kind: Kind, context: &Context) -> (CallSpan, &'static Kept) {
    let kept: &'static Kept = Box::leak(Box::default());
    let name = || "facerecog.Identify/Identify".into();
    let recording = Recording::begin_with(kept, kind, context, name);
    (CallSpan::of(recording, "facerecog.Identify", "Identify"), kept)
}

#[test]
fn a_call_is_told_of_by_the_conventions_names() {
    let context = sampled(1).child();
    let (mut span, kept) = call(Kind::Client, &context);
    span.tried(Some(&"10.0.0.1:50051".into()), 2);
    span.end(Code::Ok);
    drop(span);
    let span = kept.only();
    assert_eq!(span.name, "facerecog.Identify/Identify");
    assert_eq!(span.context, context);
    assert_eq!(span.status, SpanStatus::Unset);
    let expected: [(&str, Value); 6] = [
        ("rpc.system", "grpc".into()),
        ("rpc.service", "facerecog.Identify".into()),
        ("rpc.method", "Identify".into()),
        ("mesh.endpoint", "10.0.0.1:50051".into()),
        ("mesh.tries", 2_u32.into()),
        ("rpc.grpc.status_code", 0_i64.into()),
    ];
    let told: Vec<_> = span
        .attributes
        .into_iter()
        .map(|(name, value)| match value {
            Value::Shared(text) => (name, text.to_string().into()),
            value => (name, value),
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn only_the_first_end_counts() {
    let (mut span, kept) = call(Kind::Client, &sampled(1));
    span.end(Code::NotFound);
    span.end(Code::Ok);
    drop(span);
    assert!(
        kept.only()
            .attributes
            .contains(&("rpc.grpc.status_code", 5_i64.into()))
    );
}

#[test]
fn a_call_that_is_dropped_was_canceled() {
    let (span, kept) = call(Kind::Client, &sampled(1));
    drop(span);
    let span = kept.only();
    assert!(span.attributes.contains(&("rpc.grpc.status_code", 1_i64.into())));
    assert_eq!(span.status, SpanStatus::Error("CANCELLED".into()));
}

#[test]
fn what_is_not_sampled_is_not_recorded() {
    let (mut span, kept) = call(Kind::Server, &sampled(0b10));
    span.end(Code::Internal);
    drop(span);
    assert!(kept.0.lock().unwrap().is_empty());
}

#[test]
fn a_server_is_not_blamed_for_its_callers_mistakes_and_a_client_is_told_of_every_failure() {
    for code in (0..=16).map(Code::from_i32) {
        let status = |kind| {
            let (mut span, kept) = call(kind, &sampled(1));
            span.end(code);
            kept.only().status
        };
        let failed = SpanStatus::Error(name_of(code).into());
        let blamed = [2, 4, 12, 13, 14, 15].contains(&(code as i32));
        let (client, server) = (status(Kind::Client), status(Kind::Server));
        assert_eq!(client == failed, code != Code::Ok, "{code:?}");
        assert_eq!(server == failed, blamed, "{code:?}");
    }
}

#[test]
fn a_path_that_names_no_method_is_unknown() {
    assert_eq!(
        names("/facerecog.Identify/Identify"),
        ("facerecog.Identify", "Identify")
    );
    for wrong in ["", "/", "*", "/facerecog.Identify"] {
        assert_eq!(names(wrong), (UNKNOWN, UNKNOWN), "{wrong:?}");
    }
}
