//! All servers of the road, as an operator would start them.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient;
use safelight_proto::recognizer::v1::{ListPeopleRequest, RecognizeRequest};
use safelight_testkit::{
    MariaDb, NsqLookupd, Nsqd, NsqdOptions, S3Server, ServerDirectory, SmtpOptions, SmtpServer, free_port,
};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::transport::Channel;

use crate::authority::Authority;
use crate::{Client, Service, SmallStore, eventually, photographs, program};

/// MariaDB, nsqlookupd, nsqd and our services, each a process of its own.
#[derive(Debug)]
pub struct Stack {
    /// The database server.
    pub mariadb: MariaDb,
    /// The queue's directory.
    pub lookupd: NsqLookupd,
    /// The queue.
    pub nsqd: Nsqd,
    /// Takes images in.
    pub receiver: Service,
    /// Works on them.
    pub processor: Service,
    /// Knows faces.
    pub recognizer: Service,
    /// Makes pictures of pictures and films.
    pub transformer: Service,
    /// Shows them.
    pub frontend: Service,
    /// Tells what became of them.
    pub notifier: Service,
    /// The mail server, of a stack that has one.
    pub smtp: Option<SmtpServer>,
    /// Where uploads and outputs lie, of a stack that has a bucket.
    pub bucket: Option<S3Server>,
    /// The URL of the database that the services use.
    pub database_url: String,
    /// Where the recognizer speaks gRPC.
    pub grpc: SocketAddr,
    /// The store's file system, of a stack whose store is small.
    pub small_store: Option<SmallStore>,
    transforms: SocketAddr,
    directory: ServerDirectory,
    _alone: OwnedMutexGuard<()>,
}

/// What can be chosen before a [`Stack`] starts.
#[derive(Clone, Debug, Default)]
pub struct StackBuilder {
    processor: Vec<(String, String)>,
    recognizer: Vec<(String, String)>,
    recognizer_on_one_core: bool,
    transformer_on_one_core: bool,
    mutual_tls: bool,
    mail: bool,
    bucket: bool,
    small_store: Option<u32>,
}

impl StackBuilder {
    /// A variable of the processor.
    pub fn processor(mut self, name: &str, value: impl ToString) -> Self {
        self.processor.push((name.to_owned(), value.to_string()));
        self
    }

    /// A variable of the recognizer.
    pub fn recognizer(mut self, name: &str, value: impl ToString) -> Self {
        self.recognizer.push((name.to_owned(), value.to_string()));
        self
    }

    /// The recognizer gets one core, whatever the machine has.
    pub fn recognizer_on_one_core(mut self) -> Self {
        self.recognizer_on_one_core = true;
        self
    }

    /// The transformer gets one core, whatever the machine has.
    pub fn transformer_on_one_core(mut self) -> Self {
        self.transformer_on_one_core = true;
        self
    }

    /// The processor and the recognizer show each other certificates. Then nobody else can ask the recognizer.
    pub fn mutual_tls(mut self) -> Self {
        self.mutual_tls = true;
        self
    }

    /// There is a mail server, and with it the notifier.
    pub fn mail(mut self) -> Self {
        self.mail = true;
        self
    }

    /// Uploads and outputs lie in a bucket of S3 and not in a folder.
    pub fn bucket(mut self) -> Self {
        self.bucket = true;
        self
    }

    /// There is room for so many MiB in the store. Only where [`SmallStore::is_possible`].
    pub fn small_store(mut self, mebibytes: u32) -> Self {
        self.small_store = Some(mebibytes);
        self
    }

    /// Starts everything and waits until all services are ready. One stack runs at a time in a test program:
    /// side by side they would only be slow.
    pub async fn start(self) -> Stack {
        static ALONE: OnceLock<Arc<Mutex<()>>> = OnceLock::new();
        let alone = Arc::clone(ALONE.get_or_init(Arc::default)).lock_owned().await;
        let directory = ServerDirectory::create("stack-").expect("a folder");
        let root = directory.path().to_owned();
        for folder in ["media", "known", "cache", "store"] {
            fs::create_dir(root.join(folder)).expect("a folder");
        }
        let small_store = self
            .small_store
            .map(|mebibytes| SmallStore::mount(&root.join("store"), mebibytes).expect("a small store"));
        let mariadb = MariaDb::start().await;
        let database_url = mariadb.create_database().await;
        let lookupd = NsqLookupd::start().await;
        let nsqd = Nsqd::start(NsqdOptions {
            lookupd: vec![lookupd.tcp_address()],
            ..NsqdOptions::default()
        })
        .await;

        let migrated = Command::new(program("safelight"))
            .arg("migrate")
            .env("DATABASE_URL", &database_url)
            .status()
            .expect("the program starts");
        assert!(migrated.success(), "the migration failed");

        let (grpc, transforms) = (address(), address());
        let bucket = match self.bucket {
            true => Some(S3Server::start().await),
            false => None,
        };
        let in_folder = format!("file://{}", root.join("store").display());
        let mut storage = vec![("STORAGE_URL".to_owned(), in_folder)];
        if let Some(bucket) = &bucket {
            storage = bucket.variables();
            storage.push(("STORAGE_URL".to_owned(), bucket.url()));
        }
        let with_store = |service: Service| {
            storage
                .iter()
                .fold(service, |service, (name, value)| service.variable(name, value))
        };
        let log = |name: &str| root.join(format!("{name}.log"));
        let media = format!(
            "{},{}",
            root.join("media").display(),
            root.join("known").display()
        );
        let recognizer = Service::new("safelight-recognizer", address(), log("recognizer"))
            .variable("RECOGNIZER_LISTEN", grpc)
            .variable("KNOWN_PEOPLE", root.join("known").display())
            .variable("MODELS_DIR", photographs::models().display())
            .variable("RECOGNIZER_CACHE", root.join("cache").display())
            .variable("MEDIA_ROOTS", &media)
            .variable("DATABASE_URL", &database_url);
        let recognizer = with_store(recognizer);
        let recognizer = self
            .recognizer
            .iter()
            .fold(recognizer, |service, (name, value)| service.variable(name, value));
        let recognizer = listening(recognizer, "RECOGNIZER_HTTP_LISTEN");
        let authority = self.mutual_tls.then(|| Authority::in_folder(&root));
        let with_tls = |service: Service, name| match &authority {
            Some(authority) => authority.introduce(service, name),
            None => service,
        };
        let recognizer = with_tls(recognizer, "recognizer.test");
        let recognizer = if self.recognizer_on_one_core {
            recognizer.on_one_core()
        } else {
            recognizer
        };
        let transformer = Service::new("safelight-transformer", address(), log("transformer"))
            .variable("TRANSFORMER_LISTEN", transforms)
            .variable("MEDIA_ROOTS", &media);
        let transformer = with_store(transformer);
        let transformer = listening(transformer, "TRANSFORMER_HTTP_LISTEN");
        let transformer = with_tls(transformer, "transformer.test");
        let transformer = if self.transformer_on_one_core {
            transformer.on_one_core()
        } else {
            transformer
        };
        let receiver = Service::new("safelight-receiver", address(), log("receiver"))
            .variable("DATABASE_URL", &database_url)
            .variable("MEDIA_ROOTS", &media)
            .variable("PRODUCER_ADDRESS", nsqd.tcp_address());
        let receiver = with_store(receiver);
        let receiver = listening(receiver, "RECEIVER_LISTEN");
        let processor = Service::new("safelight-processor", address(), log("processor"))
            .variable("DATABASE_URL", &database_url)
            .variable("NSQ_LOOKUP_ADDRESS", lookupd.http_address())
            .variable("PRODUCER_ADDRESS", nsqd.tcp_address())
            .variable("GRPC_ADDRESS", grpc)
            .variable("TRANSFORMER_ADDRESS", transforms);
        let processor = self
            .processor
            .iter()
            .fold(processor, |service, (name, value)| service.variable(name, value));
        let processor = listening(processor, "PROCESSOR_LISTEN");
        let processor = with_tls(processor, "processor.test");
        let processor = match authority {
            Some(_) => processor.variable(
                "MESH_TLS_PEER",
                "recognizer=recognizer.test,transformer=transformer.test",
            ),
            None => processor,
        };
        let frontend = Service::new("safelight-frontend", address(), log("frontend"))
            .variable("DATABASE_URL", &database_url)
            .variable("MEDIA_ROOTS", &media);
        let frontend = with_store(frontend);
        let frontend = frontend.variable("FRONTEND_HOST", Ipv4Addr::LOCALHOST);
        let port = frontend.http().port();
        let frontend = frontend.variable("FRONTEND_PORT", port);

        let smtp = match self.mail {
            true => Some(SmtpServer::start(SmtpOptions::default()).await),
            false => None,
        };
        let notifier = Service::new("safelight-notifier", address(), log("notifier"))
            .variable("DATABASE_URL", &database_url)
            .variable("NSQ_LOOKUP_ADDRESS", lookupd.http_address())
            .variable("PUBLIC_URL", frontend.url(""));
        let notifier = with_store(notifier);
        let notifier = smtp.iter().fold(notifier, |notifier, smtp| {
            notifier.variable("SMTP_URL", smtp.url())
        });
        let notifier = listening(notifier, "NOTIFIER_LISTEN");

        let mut stack = Stack {
            mariadb,
            lookupd,
            nsqd,
            receiver,
            processor,
            recognizer,
            transformer,
            frontend,
            notifier,
            smtp,
            bucket,
            database_url,
            grpc,
            small_store,
            transforms,
            directory,
            _alone: alone,
        };
        for service in [
            &mut stack.recognizer,
            &mut stack.transformer,
            &mut stack.receiver,
            &mut stack.processor,
            &mut stack.frontend,
        ] {
            service.start();
        }
        for service in [
            &mut stack.recognizer,
            &mut stack.transformer,
            &mut stack.receiver,
            &mut stack.processor,
            &mut stack.frontend,
        ] {
            service.ready().await;
        }
        if stack.smtp.is_some() {
            stack.notifier.start();
            stack.notifier.ready().await;
        }
        stack
    }
}

impl Stack {
    /// What can be chosen, with nothing chosen yet.
    pub fn builder() -> StackBuilder {
        StackBuilder::default()
    }

    /// Where pictures are put.
    pub fn media(&self) -> PathBuf {
        self.directory.path().join("media")
    }

    /// Where the transformer speaks gRPC, as a URI.
    pub fn transforms_uri(&self) -> String {
        format!("http://{}", self.transforms)
    }

    /// One more processor, as the first one is set up. Not running yet.
    pub fn another_processor(&self) -> Service {
        let log = self.directory.path().join("processor-2.log");
        self.processor.another(address(), "PROCESSOR_LISTEN", log)
    }

    /// Where uploads and outputs lie.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Makes a photograph one of a known person, and waits until the recognizer knows.
    pub async fn know(&self, name: &str, photograph: &Path) {
        let sample = self.directory.path().join("known").join(format!("{name}_1.jpg"));
        fs::copy(photograph, sample).expect("a copy");
        eventually(&format!("{name} is known"), Duration::from_secs(30), async || {
            let answer = self
                .recognizer_client()
                .await
                .list_people(ListPeopleRequest {})
                .await;
            let people = answer.ok()?.into_inner().people;
            people.iter().any(|person| person.name == name).then_some(())
        })
        .await;
    }

    /// The name and version of the model that the recognizer describes faces with.
    pub async fn model(&self) -> (String, String) {
        let request = RecognizeRequest {
            image_uri: self.media().join("small.png").display().to_string(),
        };
        let mut client = self.recognizer_client().await;
        let answer = client
            .recognize(request)
            .await
            .expect("the picture is there")
            .into_inner();
        (answer.model_name, answer.model_version)
    }

    async fn recognizer_client(&self) -> RecognizerClient<Channel> {
        RecognizerClient::connect(format!("http://{}", self.grpc))
            .await
            .expect("the recognizer runs")
    }

    /// A user of this stack.
    pub fn client(&self) -> Client {
        Client::new(self.receiver.url(""))
    }
}

fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Tells a service by `variable` to listen where it is looked for.
fn listening(service: Service, variable: &str) -> Service {
    let address = service.http();
    service.variable(variable, address)
}
