//! `safelight up`: everything in one process.
//!
//! The services are the same libraries that run as separate programs, and they talk to each other in the same
//! way: the processor reaches the recognizer over gRPC through the mesh, on a port of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use safelight_database::{Database, DatabaseArgs};
use safelight_frontend as frontend;
use safelight_media::{Library, MediaArgs};
use safelight_mesh::{Availability, MeshArgs, MeshChannel, Target};
use safelight_notifier::{Notifier, NotifierArgs};
use safelight_processor::{Processor, ProcessorArgs};
use safelight_queue::{Queue, QueueArgs};
use safelight_receiver as receiver;
use safelight_recognizer::{Config, Recognizer, State};
use safelight_service::{
    MeshAdmin, MeshAdminArgs, Readiness, Shutdown, configuration_error, metrics, ops_router,
};
use safelight_store::{Store, StoreArgs, StoreError};
use safelight_transformer::Transformer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What the single process can be told.
#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// the folder that holds everything that is stored
    #[arg(long, env = "SAFELIGHT_DATA", default_value = "./safelight-data")]
    data: PathBuf,
    /// the address and port that images are posted to, such as 0.0.0.0:8000
    #[arg(long, env = "RECEIVER_LISTEN", default_value = "127.0.0.1:8000")]
    receiver_listen: SocketAddr,
    /// the address of the page, such as 0.0.0.0
    #[arg(long, env = "FRONTEND_HOST", default_value = "127.0.0.1")]
    frontend_host: IpAddr,
    /// the port of the page
    #[arg(long, env = "FRONTEND_PORT", default_value_t = 8081)]
    frontend_port: u16,
    /// the address and port of the recognizer's gRPC services, such as 0.0.0.0:50051
    #[arg(long, env = "RECOGNIZER_LISTEN", default_value = "127.0.0.1:50051")]
    recognizer_listen: SocketAddr,
    /// the address and port of the transformer's gRPC services, such as 0.0.0.0:50052
    #[arg(long, env = "TRANSFORMER_LISTEN", default_value = "127.0.0.1:50052")]
    transformer_listen: SocketAddr,
    /// the address and port of the processor's probes, metrics and mesh, such as 0.0.0.0:8001
    #[arg(long, env = "PROCESSOR_LISTEN", default_value = "127.0.0.1:8001")]
    processor_listen: SocketAddr,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    media: MediaArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    recognizer: Config,
    #[command(flatten)]
    transformer: safelight_transformer::Config,
    #[command(flatten)]
    processor: ProcessorArgs,
    #[command(flatten)]
    notifier: NotifierArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    mesh_admin: MeshAdminArgs,
    #[command(flatten)]
    receiver: receiver::Limits,
    #[command(flatten)]
    frontend: frontend::Settings,
    #[arg(skip)]
    free_ports: bool,
}

impl UpArgs {
    /// With one more folder that pictures may be opened from.
    pub(crate) fn with_media_root(mut self, root: PathBuf) -> Self {
        self.media.roots.push(root);
        self
    }

    /// Where a port is taken, another one is used.
    pub(crate) fn on_free_ports(mut self) -> Self {
        self.free_ports = true;
        self
    }

    async fn listen(&self, what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
        let listener = match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.free_ports => {
                TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
            }
            listener => listener,
        };
        listener.with_context(|| format!("{what}: cannot listen on {address}"))
    }
}

/// Runs until a signal says stop.
pub(crate) async fn run(arguments: UpArgs) -> anyhow::Result<()> {
    let everything = start(arguments).await?;
    println!("post    {}/image/post", everything.receiver());
    println!("page    {}", everything.page());
    println!("grpc    {}", everything.grpc);
    println!("mesh    {}", everything.mesh());
    println!("media   {}", everything.media);
    println!("mail    {}", everything.told);
    everything.wait().await
}

/// All services, running.
pub(crate) struct Everything {
    receiver: SocketAddr,
    frontend: SocketAddr,
    grpc: String,
    recognizer: Target,
    processor: SocketAddr,
    media: String,
    /// Where mails go.
    told: String,
    tasks: JoinSet<anyhow::Result<()>>,
    shutdown: Shutdown,
}

impl Everything {
    /// Where images are posted to.
    pub(crate) fn receiver(&self) -> String {
        format!("http://{}", reachable(self.receiver))
    }

    /// The page's address.
    pub(crate) fn page(&self) -> String {
        format!("http://{}/", reachable(self.frontend))
    }

    /// The way to the recognizer, as the processor has it, once the mesh has found it serving.
    ///
    /// # Errors
    /// It was not found within `patience`, and why.
    pub(crate) async fn recognizer(&self, patience: Duration) -> anyhow::Result<MeshChannel> {
        let mut availability = self.recognizer.availability();
        let found = tokio::time::timeout(patience, availability.wait_for(Availability::is_available)).await;
        let found = matches!(found, Ok(Ok(_)));
        ensure!(
            found,
            "the recognizer cannot be called after {} s: {}",
            patience.as_secs(),
            self.recognizer.availability().borrow().reason
        );
        Ok(self.recognizer.channel())
    }

    /// Where the state of the calls between services is shown.
    fn mesh(&self) -> String {
        format!("http://{}/mesh", reachable(self.processor))
    }

    /// Waits until everything has ended. When one part fails, the others are stopped.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) async fn wait(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended
                .context("a part of the program panicked")
                .and_then(|ended| ended);
            self.shutdown.trigger();
            outcome = outcome.and(ended);
        }
        outcome
    }

    /// Stops everything in order.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.wait().await
    }
}

/// Starts everything; returns when all of it serves.
pub(crate) async fn start(mut arguments: UpArgs) -> anyhow::Result<Everything> {
    metrics::install();
    let shutdown = Shutdown::on_signals();
    let data = arguments.data.clone();
    let create = |folder: &Path| {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
    };
    create(&data)?;
    let data = data.canonicalize()?;
    if arguments.media.roots.is_empty() {
        let media = data.join("media");
        create(&media)?;
        arguments.media.roots.push(media);
    }
    let known = arguments
        .recognizer
        .known_people
        .get_or_insert_with(|| data.join("known_people"))
        .clone();
    create(&known)?;
    arguments.media.roots.push(known.canonicalize()?);
    arguments
        .recognizer
        .cache_dir
        .get_or_insert_with(|| data.join("cache"));

    let store = data.join("store");
    arguments
        .store
        .url
        .get_or_insert_with(|| format!("file://{}", store.display()));
    let store = Store::open(&arguments.store).unwrap_or_else(|error| configuration_error(error));
    if let Some(folder) = store.folder() {
        create(folder)?;
    }
    let tried = store.clone();
    if let Err(error @ StoreError::Overwrites) = tokio::task::spawn_blocking(move || tried.check()).await? {
        configuration_error(format_args!("STORAGE_URL: {error}"));
    }

    let database = open_database(&arguments.database, &data).await?;
    let queue = arguments
        .queue
        .connect(&database)
        .unwrap_or_else(|error| configuration_error(error));
    let media = arguments
        .media
        .roots
        .iter()
        .map(|root| root.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    // Uploads lie in the store, and what is made of them is shown.
    let library = Library::with_store(&arguments.media, Some(&store))
        .unwrap_or_else(|error| configuration_error(error));
    let readiness = Readiness::new(shutdown.clone());
    let mut tasks = JoinSet::new();

    let grpc = match &arguments.processor.grpc_address {
        Some(address) => address.clone(),
        None => {
            let listener = arguments
                .listen("RECOGNIZER_LISTEN", arguments.recognizer_listen)
                .await?;
            let address = reachable(listener.local_addr()?);
            let recognizer = Recognizer::start(
                arguments.recognizer.clone(),
                library.clone(),
                Some(database.clone()),
            )
            .unwrap_or_else(|error| configuration_error(error));
            let state = recognizer.state();
            let tls = arguments
                .mesh
                .tls
                .server()
                .unwrap_or_else(|error| configuration_error(error));
            let serving = safelight_recognizer::serve(listener, recognizer, tls, shutdown.clone());
            tasks.spawn(async move { serving.await.context("the recognizer ended") });
            serving_state(state).await?;
            address.to_string()
        }
    };
    arguments.processor.grpc_address = Some(grpc.clone());
    let target = arguments
        .processor
        .recognizer(&arguments.mesh)
        .unwrap_or_else(|error| configuration_error(error));
    if arguments.processor.transformer_address.is_none() {
        let listener = arguments
            .listen("TRANSFORMER_LISTEN", arguments.transformer_listen)
            .await?;
        let address = reachable(listener.local_addr()?);
        let max_pixels = arguments.media.max_pixels;
        let transformer =
            Transformer::start(&arguments.transformer, library.clone(), max_pixels, store.clone()).await;
        let transformer = transformer.unwrap_or_else(|error| configuration_error(error));
        let tls = arguments
            .mesh
            .tls
            .server()
            .unwrap_or_else(|error| configuration_error(error));
        let serving = safelight_transformer::serve(listener, transformer, tls, shutdown.clone());
        tasks.spawn(async move { serving.await.context("the transformer ended") });
        arguments.processor.transformer_address = Some(address.to_string());
    }
    let transformer = arguments
        .processor
        .transformer(&arguments.mesh)
        .unwrap_or_else(|error| configuration_error(error));
    let listener = arguments
        .listen("PROCESSOR_LISTEN", arguments.processor_listen)
        .await?;
    let processor_address = listener.local_addr()?;
    let mesh = MeshAdmin::new(arguments.mesh_admin);
    mesh.show(target.clone());
    if let Some(transformer) = &transformer {
        mesh.show(transformer.clone());
    }
    let router = ops_router(readiness.clone(), &mesh);
    let showing = safelight_service::serve(listener, router, shutdown.clone());
    tasks.spawn(async move { showing.await.context("the processor's HTTP port ended") });
    let processor = Processor {
        database: database.clone(),
        queue: queue.clone(),
        recognizer: target.clone(),
        recognizer_api: arguments.processor.recognizer_api,
        transformer,
        settings: arguments.processor.settings(),
    };
    let working = safelight_processor::run(processor, readiness, shutdown.clone());
    tasks.spawn(async move { working.await.context("the processor ended") });

    let listener = arguments
        .listen("RECEIVER_LISTEN", arguments.receiver_listen)
        .await?;
    let receiver = listener.local_addr()?;
    let deps = receiver::Deps {
        database: database.clone(),
        queue: queue.clone(),
        library: library.clone(),
        store: Some(store.clone()),
        limits: arguments.receiver.clone(),
    };
    let taking = receiver::serve(listener, deps, shutdown.clone());
    tasks.spawn(async move { taking.await.context("the receiver ended") });

    let page = SocketAddr::new(arguments.frontend_host, arguments.frontend_port);
    let listener = arguments.listen("FRONTEND_PORT", page).await?;
    let frontend = listener.local_addr()?;
    let told = start_notifier(
        arguments.notifier,
        &data,
        &format!("http://{}", reachable(frontend)),
        (database.clone(), queue, store),
        &mut tasks,
        &shutdown,
    );
    let receiver_url = format!("http://{}", reachable(receiver));
    let settings = frontend::Settings {
        receiver_url,
        ..arguments.frontend
    };
    let showing = frontend::serve(
        listener,
        frontend::Deps {
            database,
            library,
            settings,
        },
        shutdown.clone(),
    );
    tasks.spawn(async move { showing.await.context("the frontend ended") });

    Ok(Everything {
        receiver,
        frontend,
        grpc,
        recognizer: target,
        processor: processor_address,
        media,
        told,
        tasks,
        shutdown,
    })
}

/// Without a mail server, letters are written into a folder of the data. Tells where they go.
fn start_notifier(
    mut arguments: NotifierArgs,
    data: &Path,
    page: &str,
    (database, queue, store): (Database, Queue, Store),
    tasks: &mut JoinSet<anyhow::Result<()>>,
    shutdown: &Shutdown,
) -> String {
    if arguments.public_url.is_none() && arguments.smtp_url.is_none() {
        arguments.public_url = page.parse().ok();
    }
    let told = match &arguments.smtp_url {
        Some(_) => "by the mail server of SMTP_URL".to_owned(),
        None => {
            let folder = arguments.mail_folder.get_or_insert_with(|| data.join("mail"));
            folder.display().to_string()
        }
    };
    let configuration = arguments
        .configuration()
        .unwrap_or_else(|wrong| configuration_error(wrong));
    let notifier = Notifier {
        database,
        queue,
        store: Some(store),
        configuration,
    };
    let telling = safelight_notifier::run(notifier, Readiness::new(shutdown.clone()), shutdown.clone());
    tasks.spawn(async move { telling.await.context("the notifier ended") });
    told
}

/// The database that was named, or one file in the data folder.
async fn open_database(arguments: &DatabaseArgs, data: &Path) -> anyhow::Result<Database> {
    let named = arguments.url().unwrap_or_else(|error| configuration_error(error));
    let database = match named {
        Some(_) => arguments.open().await.context("cannot open the database")?,
        None => {
            let file = data.join("safelight.db");
            let url = format!("sqlite://{}", file.display());
            Database::connect(&url, &arguments.options())
                .await
                .with_context(|| format!("cannot open {}", file.display()))?
        }
    };
    database
        .migrate()
        .await
        .context("the database was not migrated")?;
    Ok(database)
}

async fn serving_state(mut state: tokio::sync::watch::Receiver<State>) -> anyhow::Result<()> {
    let reached = state.wait_for(|state| !matches!(state, State::Loading)).await;
    let reached = reached.context("the recognizer ended while it started")?;
    match &*reached {
        State::Failed(reason) => anyhow::bail!("the recognizer cannot start: {reason}"),
        _ => Ok(()),
    }
}

/// The address under which this machine reaches what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}
