//! What becomes of unanswered requests when a connection is lost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio_test::{assert_pending, assert_ready, task};

use super::super::request::Answer;
use super::*;
use crate::command::Command;
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
        let config = Arc::new(ProducerConfig::new("unused:1"));
        let (requests, incoming) = mpsc::unbounded_channel();
        let bounds = Bounds::new(100, 1_000_000);
        let (state, _) = watch::channel(ProducerState::Connected);
        let (ours, nsqd) = duplex(capacity);
        let connection = Connection::over(Box::new(ours), &ConnectionConfig::default());
        let task = ProducerTask::new(config, incoming, bounds.clone(), state, CancellationToken::new());
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
            let command = Command::Publish {
                topic: Topic::new("t").unwrap(),
                body,
            };
            let (request, answer) = Request::new(command, bounds.reserve(size).await.unwrap());
            scene.requests.send(request).unwrap();
            scene.answers.push(answer);
        }
        scene.task.send_queued(&mut scene.connection, &mut scene.sent);
        assert_eq!(scene.sent.len(), sizes.len());
        scene.connection.drive().await.unwrap();
        scene
    }

    fn lose(&mut self, error: ConnectionError, rest_unseen: bool) {
        let sent = std::mem::take(&mut self.sent);
        self.task
            .settle(sent, &self.connection, &Lost { error, rest_unseen });
    }

    fn answer(&mut self, index: usize) -> std::task::Poll<Result<(), PublishError>> {
        task::spawn(self.answers[index].wait()).poll()
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
    let lost = resolve_first(&mut scene.sent, refusal).unwrap_err();
    assert!(lost.rest_unseen);
    scene.lose(lost.error, lost.rest_unseen);
    let refused = assert_ready!(scene.answer(0));
    assert!(matches!(refused, Err(PublishError::Rejected(_))), "{refused:?}");
    assert_pending!(scene.answer(1));
    let lengths = scene.task.queued.iter().map(|request| match request.begin() {
        Some(Command::Publish { body, .. }) => body.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.collect::<Vec<_>>(), [20, 30]);
}

#[tokio::test]
async fn a_refusal_that_is_not_fatal_concerns_one_publish_alone() {
    let mut scene = Scene::with_publishes(1000, &[10, 20]).await;
    resolve_first(
        &mut scene.sent,
        Frame::Error(ServerError::parse(b"E_NEW what is this")),
    )
    .unwrap();
    assert!(matches!(
        assert_ready!(scene.answer(0)),
        Err(PublishError::Rejected(_))
    ));
    resolve_first(&mut scene.sent, Frame::Response("OK".into())).unwrap();
    assert!(matches!(assert_ready!(scene.answer(1)), Ok(())));
    let surplus = resolve_first(&mut scene.sent, Frame::Response("OK".into())).unwrap_err();
    assert!(matches!(surplus.error, ConnectionError::Protocol(_)));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_sent_again() {
    let mut scene = Scene::with_publishes(60, &[20, 100, 20]).await;
    scene.answers.remove(1);
    scene.lose(ConnectionError::Closed, false);
    assert_eq!(scene.task.queued.len(), 1);
}
