#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for parent in parents {
        headers.append(TRACEPARENT, parent.parse().unwrap());
    }
    for state in states {
        headers.append(TRACESTATE, state.parse().unwrap());
    }
    headers
}

fn read(parent: &str) -> Option<Context> {
    Context::from_headers(&headers(&[parent], &[]))
}

fn state(states: &[&str]) -> Option<String> {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let context = Context::from_headers(&headers(&[&parent], states)).unwrap();
    context.tracestate().map(str::to_owned)
}

#[test]
fn the_specifications_examples_are_read() {
    let sampled = read(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(sampled.trace_id().to_string(), TRACE);
    assert_eq!(sampled.span_id().to_string(), SPAN);
    assert!(sampled.is_sampled());
    let not_sampled = read(&format!("00-{TRACE}-{SPAN}-00")).unwrap();
    assert!(!not_sampled.is_sampled());
    assert_eq!(not_sampled.traceparent(), format!("00-{TRACE}-{SPAN}-00"));
}

#[test]
fn a_traceparent_that_breaks_the_rules_is_ignored() {
    let zeros = "0".repeat(32);
    for wrong in [
        String::new(),
        "00".to_owned(),
        // The version.
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("0-{TRACE}-{SPAN}-01"),
        format!("000-{TRACE}-{SPAN}-01"),
        format!(".0-{TRACE}-{SPAN}-01"),
        format!("0A-{TRACE}-{SPAN}-01"),
        // Version 00 has nothing after its flags.
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        // A later one has a dash there, or nothing.
        format!("cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like"),
        // Ids of zeros, capitals, other lengths.
        format!("00-{zeros}-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &zeros[..16]),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
        format!("00-{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}0-{SPAN}-01"),
        format!("00-{TRACE}-{}-01", &SPAN[1..]),
        format!("00-{TRACE}-{SPAN}0-01"),
        format!("00-.{}-{SPAN}-01", &TRACE[1..]),
        format!("00-{TRACE}-.{}-01", &SPAN[1..]),
        // The flags.
        format!("00-{TRACE}-{SPAN}-1"),
        format!("00-{TRACE}-{SPAN}-001"),
        format!("00-{TRACE}-{SPAN}-.0"),
        format!("00-{TRACE}-{SPAN}-0A"),
        format!("00-{TRACE}-{SPAN}"),
        // The dashes.
        format!("00_{TRACE}_{SPAN}_01"),
    ] {
        assert_eq!(read(&wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known_and_sent_on_as_00() {
    for later in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"),
        format!("01-{TRACE}-{SPAN}-01-"),
    ] {
        let context = read(&later).unwrap();
        assert_eq!(context.traceparent(), format!("00-{TRACE}-{SPAN}-01"), "{later}");
    }
}

#[test]
fn spaces_around_it_do_not_matter() {
    assert!(read(&format!(" \t00-{TRACE}-{SPAN}-01 \t")).is_some());
}

#[test]
fn two_traceparents_are_none() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    assert_eq!(Context::from_headers(&headers(&[&parent, &parent], &[])), None);
    assert_eq!(Context::from_headers(&headers(&[], &["foo=1"])), None);
}

#[test]
fn flags_that_are_not_known_are_sent_on_as_zero() {
    let context = read(&format!("00-{TRACE}-{SPAN}-ff")).unwrap();
    assert_eq!(context.traceparent(), format!("00-{TRACE}-{SPAN}-03"));
}

#[test]
fn a_tracestate_is_passed_on_as_it_came_and_its_headers_joined() {
    assert_eq!(state(&["foo=1,bar=2"]).unwrap(), "foo=1,bar=2");
    assert_eq!(state(&["foo=1", "bar=2"]).unwrap(), "foo=1,bar=2");
    assert_eq!(
        state(&["foo=1 \t , \t bar=2, \t baz=3"]).unwrap(),
        "foo=1,bar=2,baz=3"
    );
    assert_eq!(state(&["foo=1,", "", ",bar=2"]).unwrap(), "foo=1,bar=2");
    assert_eq!(
        state(&["fw529a3039@dt=FfAAAAA a"]).unwrap(),
        "fw529a3039@dt=FfAAAAA a"
    );
    assert_eq!(state(&["0tenant@v=1"]).unwrap(), "0tenant@v=1");
    let longest = format!("{}=1,{}@{}=1", "z".repeat(256), "t".repeat(241), "v".repeat(14));
    assert_eq!(state(&[&longest]).unwrap(), longest);
    let members: Vec<String> = (0..32).map(|member| format!("bar{member}=1")).collect();
    assert!(state(&[&members.join(",")]).is_some());
}

#[test]
fn a_tracestate_that_breaks_the_rules_is_dropped_and_the_trace_kept() {
    let members: Vec<String> = (0..33).map(|member| format!("bar{member}=1")).collect();
    for wrong in [
        "foo 1".to_owned(),
        "foo =1".to_owned(),
        "FOO=1".to_owned(),
        "foo.bar=1".to_owned(),
        "1foo=1".to_owned(),
        "foo@=1,bar=2".to_owned(),
        "@foo=1,bar=2".to_owned(),
        "foo@@bar=1,bar=2".to_owned(),
        "foo@1bar=1".to_owned(),
        "foo=".to_owned(),
        "foo=1=2".to_owned(),
        "foo=1,foo=1".to_owned(),
        "foo=1,foo=2".to_owned(),
        format!("{}=1", "z".repeat(257)),
        format!("{}@v=1", "t".repeat(242)),
        format!("t@{}=1", "v".repeat(15)),
        format!("foo={}", "1".repeat(257)),
        members.join(","),
        ",".to_owned(),
    ] {
        assert_eq!(state(&[&wrong]), None, "{wrong:?}");
    }
}

#[test]
fn a_child_is_another_span_of_the_same_trace() {
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let caller = Context::from_headers(&headers(&[&parent], &["foo=1"])).unwrap();
    let child = caller.child();
    assert_eq!(child.trace_id(), caller.trace_id());
    assert_ne!(child.span_id(), caller.span_id());
    assert_eq!(child.parent_id(), Some(caller.span_id()));
    assert_eq!(child.tracestate(), Some("foo=1"));
    assert!(child.is_sampled());
}

#[test]
fn what_is_written_replaces_what_was_there() {
    let mut written = headers(&["nonsense", "more"], &["a=1", "b=2"]);
    let context = Context::root();
    context.write(&mut written);
    assert_eq!(written.get_all(TRACEPARENT).iter().count(), 1);
    assert!(!written.contains_key(TRACESTATE));
    assert_eq!(
        Context::from_headers(&written).unwrap().traceparent(),
        context.traceparent()
    );
}

#[tokio::test]
async fn the_current_context_is_that_of_the_scope() {
    assert_eq!(Context::current(), None);
    let context = Context::root();
    scope(context.clone(), async {
        assert_eq!(Context::current(), Some(context.clone()));
    })
    .await;
    assert_eq!(Context::current(), None);
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_ignored_and_what_is_written_can_be_read(
        parent in "[ -~]{0,70}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?",
        list in "[ -~]{0,300}",
    ) {
        let mut given = HeaderMap::new();
        if let Ok(parent) = HeaderValue::from_str(&parent) {
            given.insert(TRACEPARENT, parent);
        }
        given.insert(TRACESTATE, HeaderValue::from_str(&list).unwrap());
        if let Some(context) = Context::from_headers(&given) {
            let mut written = HeaderMap::new();
            context.write(&mut written);
            prop_assert_eq!(Context::from_headers(&written), Some(context));
        }
    }
}
