//! A recognizer that does as it is told. It has a runtime of its own, so that it can die as a process does.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use safelight_proto::recognizer::v1::recognizer_server::{Recognizer, RecognizerServer};
use safelight_proto::recognizer::v1::{
    EnrollPersonRequest, EnrollPersonResponse, ForgetPersonRequest, ForgetPersonResponse, ListPeopleRequest,
    ListPeopleResponse, RecognizeRequest, RecognizeResponse,
};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nobody in it.
    Good,
    /// The queue is full.
    Full,
    /// The picture cannot be decoded.
    Bad,
    /// An internal error, after another call has been answered well meanwhile.
    BugAfterAnother,
    /// The recognizer dies, and is back a moment later.
    Die,
    /// No answer.
    Never,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Mutex<HashMap<String, VecDeque<Answer>>>>,
    calls: Arc<Mutex<HashMap<String, usize>>>,
    well: watch::Sender<u64>,
    deaths: tokio::sync::mpsc::UnboundedSender<()>,
}

pub struct Scripted {
    address: SocketAddr,
    script: Script,
    running: Arc<Mutex<Option<Runtime>>>,
}

impl Scripted {
    pub fn new() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], safelight_testkit::free_port()));
        let (deaths, mut died) = tokio::sync::mpsc::unbounded_channel();
        let script = Script {
            answers: Arc::default(),
            calls: Arc::default(),
            well: watch::Sender::new(0),
            deaths,
        };
        let running: Arc<Mutex<Option<Runtime>>> = Arc::default();
        let (again, rerunning) = (script.clone(), Arc::clone(&running));
        tokio::spawn(async move {
            while died.recv().await.is_some() {
                let dead = rerunning.lock().unwrap().take();
                if let Some(dead) = dead {
                    dead.shutdown_background();
                }
                *rerunning.lock().unwrap() = Some(serve(address, again.clone()));
            }
        });
        Self {
            address,
            script,
            running,
        }
    }

    pub fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next answers for a path; good ones follow.
    pub fn answers(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.script
            .answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), answers.into_iter().collect());
    }

    pub fn calls(&self, path: &str) -> usize {
        self.script.calls.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    pub fn start(&mut self) {
        *self.running.lock().unwrap() = Some(serve(self.address, self.script.clone()));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        if let Some(running) = self.running.lock().unwrap().take() {
            running.shutdown_background();
        }
    }
}

fn serve(address: SocketAddr, script: Script) -> Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.spawn(async move {
        // The runtime that died may hold the port for another moment.
        let listener = loop {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tonic::transport::Server::builder().add_service(RecognizerServer::new(script));
        server.serve_with_incoming(incoming).await.unwrap();
    });
    runtime
}

#[tonic::async_trait]
impl Recognizer for Script {
    async fn recognize(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let path = request.into_inner().image_uri;
        *self.calls.lock().unwrap().entry(path.clone()).or_default() += 1;
        let next = self
            .answers
            .lock()
            .unwrap()
            .get_mut(&path)
            .and_then(VecDeque::pop_front);
        match next.unwrap_or(Answer::Good) {
            Answer::Good => {
                self.well.send_modify(|count| *count += 1);
                Ok(Response::new(RecognizeResponse {
                    width: 10,
                    height: 10,
                    ..RecognizeResponse::default()
                }))
            }
            Answer::Full => Err(Status::resource_exhausted("the queue is full")),
            Answer::Bad => Err(Status::invalid_argument("not a picture")),
            Answer::BugAfterAnother => {
                let mut well = self.well.subscribe();
                let before = *well.borrow_and_update();
                // Two, so that the caller has surely read the first one's answer.
                let _ = well.wait_for(|count| *count >= before + 2).await;
                Err(Status::internal("a bug"))
            }
            Answer::Die => {
                let _ = self.deaths.send(());
                std::future::pending().await
            }
            Answer::Never => std::future::pending().await,
        }
    }

    async fn enroll_person(
        &self,
        _: Request<EnrollPersonRequest>,
    ) -> Result<Response<EnrollPersonResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_people(
        &self,
        _: Request<ListPeopleRequest>,
    ) -> Result<Response<ListPeopleResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn forget_person(
        &self,
        _: Request<ForgetPersonRequest>,
    ) -> Result<Response<ForgetPersonResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }
}
