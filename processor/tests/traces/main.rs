//! The trace of an image in the processor, against a recognizer that does as it is told.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

// The promises use all of these.
#[allow(dead_code)]
#[path = "../promises/road.rs"]
mod road;
#[allow(dead_code)]
#[path = "../promises/scripted.rs"]
mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use road::Road;
use safelight_mesh::trace::{self, Finished, Kind, Recorder, Value};
use scripted::Answer;

/// Nothing here takes so long.
const DEADLINE: Duration = Duration::from_secs(30);

/// Keeps the spans of this process.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Finished>>>);

// === impl Kept ===

impl Recorder for Kept {
    fn record(&self, span: Finished) {
        self.0.lock().unwrap().push(span);
    }
}

impl Kept {
    /// The traces that ended, by the spans that began them.
    fn turns(&self) -> Vec<Finished> {
        self.named("image")
    }

    fn named(&self, name: &str) -> Vec<Finished> {
        let mut spans = self.0.lock().unwrap().clone();
        spans.retain(|span| span.name == name);
        spans
    }

    /// The span of this name under another.
    fn under(&self, parent: &Finished, name: &str) -> Finished {
        let parent = &parent.context;
        let mut spans = self.named(name);
        spans.retain(|span| {
            span.context.trace_id() == parent.trace_id() && span.context.parent_id() == Some(parent.span_id())
        });
        assert_eq!(spans.len(), 1, "{name}: {spans:#?}");
        spans.remove(0)
    }
}

fn attribute<'a>(span: &'a Finished, name: &str) -> Option<&'a Value> {
    let mut attributes = span.attributes.iter();
    attributes
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_turn_of_an_image_is_a_trace_with_its_call_and_its_result() {
    let kept = Kept::default();
    trace::install(kept.clone(), 1.0).unwrap();
    let mut road = Road::begin().await;
    road.recognizer.answers("/bad.jpg", [Answer::Bad]);
    road.recognizer.start();
    let ids = road.accept(["/bad.jpg", "/good.jpg"]).await;
    for id in &ids {
        road.wait_until_final(*id).await;
    }
    // The turn ends when the result is written, and its span after that.
    road.stop().await;

    let turns = kept.turns();
    assert_eq!(turns.len(), 2, "{turns:#?}");
    assert_ne!(turns[0].context.trace_id(), turns[1].context.trace_id());
    let mut outcomes = Vec::new();
    for turn in &turns {
        assert_eq!((turn.kind, turn.context.parent_id()), (Kind::Internal, None));
        let Some(&Value::Integer(image)) = attribute(turn, "safelight.image.id") else {
            panic!("{turn:#?}")
        };
        let call = kept.under(turn, "safelight.recognizer.v1.Recognizer/Recognize");
        assert_eq!(call.kind, Kind::Client);
        let write = kept.under(turn, "write");
        assert!(write.start >= call.start + call.duration);
        outcomes.push((
            image,
            attribute(&write, "safelight.image.outcome").unwrap().clone(),
        ));
    }
    outcomes.sort_by_key(|(image, _)| *image);
    assert_eq!(
        outcomes,
        [(ids[0], "failed".into()), (ids[1], "processed".into())]
    );
}
