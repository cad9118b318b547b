//! What becomes of unanswered requests when a connection is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_test::{assert_pending, assert_ready, task};

use super::super::ProducerConfig;
use super::super::request::{Answer, Payload};
use super::*;
use crate::error::ServerError;
use crate::identify::ConnectionConfig;
use crate::name::Topic;

struct Scene {
    task: ProducerTask,
    connection: Connection,
    /// nsqd's end of the connection.
    nsqd: DuplexStream,
    sent: VecDeque<Sent>,
    answers: Vec<Answer>,
    requests: mpsc::UnboundedSender<Request>,
}

// === impl Scene ===

impl Scene {
    /// Publishes of these sizes were sent over a connection that holds `capacity` bytes.
    async fn with_publishes(capacity: usize, sizes: &[usize]) -> Self {
        Self::with(ProducerConfig::new("unused:1"), capacity, sizes).await
    }

    async fn with(config: ProducerConfig, capacity: usize, sizes: &[usize]) -> Self {
        let core = Arc::new(Core::new(config));
        let (requests, incoming) = mpsc::unbounded_channel();
        let (state, _) = watch::channel(ProducerState::Connected);
        let (ours, nsqd) = duplex(capacity);
        let connection = Connection::over(Box::new(ours), &ConnectionConfig::default());
        let task = ProducerTask::new(core.clone(), incoming, state, CancellationToken::new());
        let mut scene = Self {
            task,
            connection,
            nsqd,
            sent: VecDeque::new(),
            answers: Vec::new(),
            requests,
        };
        for &size in sizes {
            let body = Bytes::from(vec![b'x'; size]);
            let topic = Topic::new("t").unwrap();
            let place = core.bounds.reserve(size).await.unwrap();
            let (request, answer) = Request::new(Payload::Publish { topic, body }, false, place);
            scene.requests.send(request).unwrap();
            scene.answers.push(answer);
        }
        scene.task.send_queued(&mut scene.connection, &mut scene.sent);
        let requests: usize = scene.sent.iter().map(|sent| sent.requests.len()).sum();
        assert_eq!(requests, sizes.len());
        scene.connection.drive().await.unwrap();
        scene
    }

    fn lose(&mut self, error: ConnectionError, rest_unseen: bool) {
        let sent = std::mem::take(&mut self.sent);
        self.task
            .settle(sent, &self.connection, &Lost { error, rest_unseen });
    }

    fn answer(&mut self, index: usize) -> std::task::Poll<Result<(), PublishError>> {
        let answer = &self.answers[index];
        task::spawn(std::future::poll_fn(|cx| answer.poll(cx))).poll()
    }

    fn hear(&mut self, frame: Frame) -> Result<(), Lost> {
        self.task.resolve_first(&mut self.sent, frame)
    }

    fn queued_sizes(&self) -> Vec<usize> {
        let bodies = self.task.queued.iter().filter_map(Request::mergeable);
        bodies.map(|(_, body)| body.len()).collect()
    }
}

#[tokio::test]
async fn what_nsqd_cannot_have_read_whole_waits_for_the_next_connection() {
    // Room for the first, and for a part of the second.
    let mut scene = Scene::with_publishes(60, &[20, 100, 20]).await;
    scene.lose(ConnectionError::Closed, false);
    let first = assert_ready!(scene.answer(0));
    assert!(
        matches!(first, Err(PublishError::Unknown(ConnectionError::Closed))),
        "{first:?}"
    );
    assert_pending!(scene.answer(1));
    assert_pending!(scene.answer(2));
    assert_eq!(scene.task.queued.len(), 2);
    assert!(!scene.answers[0].withdraw(), "it was sent");
    assert!(
        scene.answers[1].withdraw(),
        "it was not sent, and is not any more"
    );
}

#[tokio::test]
async fn what_was_read_whole_is_unknown_however_much_waited_behind_it() {
    let mut scene = Scene::with_publishes(60, &[20, 100, 20]).await;
    let mut read = [0; 60];
    while !scene.connection.is_flushed() {
        assert!(scene.nsqd.read(&mut read).await.unwrap() > 0);
        scene.connection.drive().await.unwrap();
    }
    scene.lose(ConnectionError::Closed, false);
    for index in 0..3 {
        let answer = assert_ready!(scene.answer(index));
        assert!(matches!(answer, Err(PublishError::Unknown(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn what_stood_behind_a_fatal_refusal_waits_for_the_next_connection_in_its_order() {
    let mut scene = Scene::with_publishes(1000, &[10, 20, 30]).await;
    let refusal = Frame::Error(ServerError::parse(b"E_BAD_MESSAGE PUB invalid"));
    let lost = scene.hear(refusal).unwrap_err();
    assert!(lost.rest_unseen);
    scene.lose(lost.error, lost.rest_unseen);
    let refused = assert_ready!(scene.answer(0));
    assert!(matches!(refused, Err(PublishError::Rejected(_))), "{refused:?}");
    assert_pending!(scene.answer(1));
    assert_eq!(scene.queued_sizes(), [20, 30]);
}

#[tokio::test]
async fn a_refusal_that_is_not_fatal_concerns_one_publish_alone() {
    let mut scene = Scene::with_publishes(1000, &[10, 20]).await;
    scene
        .hear(Frame::Error(ServerError::parse(b"E_NEW what is this")))
        .unwrap();
    assert!(matches!(
        assert_ready!(scene.answer(0)),
        Err(PublishError::Rejected(_))
    ));
    scene.hear(Frame::Response("OK".into())).unwrap();
    assert!(matches!(assert_ready!(scene.answer(1)), Ok(())));
    let surplus = scene.hear(Frame::Response("OK".into())).unwrap_err();
    assert!(matches!(surplus.error, ConnectionError::Protocol(_)));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_sent_again() {
    let mut scene = Scene::with_publishes(60, &[20, 100, 20]).await;
    scene.answers.remove(1);
    scene.lose(ConnectionError::Closed, false);
    assert_eq!(scene.task.queued.len(), 1);
}

fn lingering() -> ProducerConfig {
    let mut config = ProducerConfig::new("unused:1");
    config.linger = Some(Duration::ZERO);
    config
}

#[tokio::test]
async fn with_linger_what_came_together_is_one_command_and_each_has_its_own_answer() {
    let mut scene = Scene::with(lingering(), 1000, &[10, 20, 30]).await;
    assert_eq!(scene.sent.len(), 1);
    let mut written = [0; 1000];
    let length = scene.nsqd.read(&mut written).await.unwrap();
    assert!(written[..length].starts_with(b"MPUB t\n\0\0\0\x4c\0\0\0\x03\0\0\0\x0axxx"));
    assert_pending!(scene.answer(1));
    scene.hear(Frame::Response("OK".into())).unwrap();
    for index in 0..3 {
        assert!(assert_ready!(scene.answer(index)).is_ok());
    }
    assert_eq!(scene.task.core.counters.snapshot().acknowledged, 3);
    assert_eq!(scene.task.core.counters.snapshot().commands, 1);
}

fn lingering_within(max_body_size: usize) -> ProducerConfig {
    let mut config = lingering();
    config.max_body_size = max_body_size;
    config
}

#[tokio::test]
async fn with_linger_no_message_overtakes_one_of_its_topic_that_did_not_fit() {
    let scene = Scene::with(lingering_within(400), 1000, &[150, 280, 10]).await;
    let commands: Vec<usize> = scene.sent.iter().map(|sent| sent.requests.len()).collect();
    assert_eq!(commands, [1, 2]);
}

#[tokio::test]
async fn a_batch_that_is_cut_anew_goes_in_front_of_what_was_sent_behind_it() {
    let mut scene = Scene::with(lingering_within(400), 1000, &[150, 100, 280, 10]).await;
    let refusal = ServerError::parse(b"E_BAD_BODY MPUB body too big 262 > 200");
    let lost = scene.hear(Frame::Error(refusal)).unwrap_err();
    scene.lose(lost.error, lost.rest_unseen);
    assert_eq!(scene.queued_sizes(), [150, 100, 280, 10]);
}

#[tokio::test]
async fn a_message_over_a_limit_unknown_until_then_fails_alone_though_it_was_sent_with_others() {
    let mut scene = Scene::with(lingering(), 1000, &[10, 200, 30]).await;
    let refusal = ServerError::parse(b"E_BAD_MESSAGE MPUB message too big 200 > 100");
    let lost = scene.hear(Frame::Error(refusal)).unwrap_err();
    scene.lose(lost.error, lost.rest_unseen);
    assert_eq!(scene.queued_sizes(), [10, 200, 30]);
    scene.task.send_queued(&mut scene.connection, &mut scene.sent);
    let refused = assert_ready!(scene.answer(1));
    assert!(
        matches!(
            &refused,
            Err(PublishError::Invalid(crate::InvalidMessage::TooLarge {
                size: 200,
                limit: 100
            }))
        ),
        "{refused:?}"
    );
    scene.hear(Frame::Response("OK".into())).unwrap();
    assert!(assert_ready!(scene.answer(0)).is_ok());
    assert!(assert_ready!(scene.answer(2)).is_ok());
}

#[tokio::test]
async fn a_refused_batch_that_teaches_nothing_is_refused_for_all_in_it() {
    let mut scene = Scene::with(lingering(), 1000, &[10, 20]).await;
    let refusal = ServerError::parse(b"E_MPUB_FAILED MPUB failed disk full");
    scene.hear(Frame::Error(refusal)).unwrap_err();
    for index in 0..2 {
        let refused = assert_ready!(scene.answer(index)).unwrap_err();
        assert!(
            matches!(refused, PublishError::Rejected(_)) && refused.may_be_stored(),
            "{refused:?}"
        );
    }
    assert!(scene.task.queued.is_empty());
}

#[tokio::test]
async fn a_task_that_ends_early_says_of_what_it_sent_that_it_may_be_stored() {
    let mut scene = Scene::with_publishes(1000, &[10]).await;
    scene.sent.clear();
    let lost = assert_ready!(scene.answer(0));
    assert!(matches!(lost, Err(PublishError::Unknown(_))), "{lost:?}");
}
