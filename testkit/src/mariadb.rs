//! A private MariaDB.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fs, io};

use tokio::sync::OnceCell;

use crate::{ServerDirectory, ServerProcess, free_port};

/// Recovery after a hard kill is part of a start, on a machine that may be busy.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// A MariaDB server with the default durability, listening on 127.0.0.1 only: user `root`, no password.
#[derive(Debug)]
pub struct MariaDb {
    directory: ServerDirectory,
    port: u16,
    process: Mutex<Option<ServerProcess>>,
    databases: AtomicU32,
}

// === impl MariaDb ===

impl MariaDb {
    /// Starts a server for this test alone, to be killed and restarted as it likes.
    ///
    /// # Panics
    /// `mariadbd` or `mariadb-install-db` is missing or does not start.
    pub async fn start() -> MariaDb {
        match MariaDb::try_start().await {
            Ok(server) => server,
            Err(reason) => panic!("no MariaDB for the tests (Debian: apt install mariadb-server): {reason}"),
        }
    }

    /// The server that all tests of this process share; it is started at the first call. Take a database of
    /// your own from it with [`MariaDb::create_database`] and do not kill it.
    ///
    /// # Panics
    /// As [`MariaDb::start`].
    pub async fn shared() -> &'static MariaDb {
        static SHARED: OnceCell<MariaDb> = OnceCell::const_new();
        SHARED.get_or_init(MariaDb::start).await
    }

    /// The URL of a database on this server, whether or not it exists.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@{}/{database}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The process id of the running server, `None` while it is killed.
    pub fn pid(&self) -> Option<u32> {
        self.process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(ServerProcess::pid)
    }

    /// Creates an empty database with a name of its own and gives its URL.
    ///
    /// # Panics
    /// The server does not answer.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.execute(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))
            .await;
        self.url(&name)
    }

    /// Runs statements as root through the server's socket and gives what they print, tab-separated.
    ///
    /// # Panics
    /// A statement fails.
    pub async fn execute(&self, sql: &str) -> String {
        let output = tokio::process::Command::new("mariadb")
            .args([
                "--no-defaults",
                "--user=root",
                "--batch",
                "--skip-column-names",
                "--default-character-set=utf8mb4",
            ])
            .arg(format!("--socket={}", self.socket().display()))
            .arg("--execute")
            .arg(sql)
            .kill_on_drop(true)
            .output()
            .await;
        match output {
            Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
            Ok(output) => panic!("{sql}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => panic!("the program mariadb cannot be started: {error}"),
        }
    }

    /// Kills the server (SIGKILL), as a power cut would as far as its clients can tell.
    pub fn kill(&self) {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Stops the server in its tracks: connections stay open and nothing answers.
    pub fn freeze(&self) {
        if let Some(process) = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            process.freeze();
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(process) = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            process.thaw();
        }
    }

    /// Starts the server again on the same data and port, killing it first where it still runs.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&self) {
        self.kill();
        match self.launch().await {
            Ok(process) => {
                *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
            }
            Err(error) => panic!("MariaDB does not start again: {error}"),
        }
    }

    async fn try_start() -> io::Result<MariaDb> {
        let directory = ServerDirectory::create("mariadb-")?;
        install(directory.path()).await?;
        let server = MariaDb {
            directory,
            port: free_port(),
            process: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        let process = server.launch().await?;
        *server.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        Ok(server)
    }

    async fn launch(&self) -> io::Result<ServerProcess> {
        let mut command = Command::new(program("mariadbd"));
        command
            .env("TMPDIR", temporary_directory(self.directory.path())?)
            .args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .arg(format!("--port={}", self.port))
            .arg(format!(
                "--datadir={}",
                data_directory(self.directory.path()).display()
            ))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!(
                "--pid-file={}",
                self.directory.path().join("pid").display()
            ))
            .arg(format!("--user={}", user(self.directory.path())?))
            .args([
                "--innodb-buffer-pool-size=128M",
                "--innodb-log-file-size=64M",
                "--max-connections=500",
            ]);
        let log = self.directory.path().join("log");
        let mut process = ServerProcess::spawn("mariadbd", command, &log)?;
        process
            .wait_until_listening(self.address(), START_DEADLINE)
            .await?;
        Ok(process)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }
}

async fn install(directory: &Path) -> io::Result<()> {
    let output = tokio::process::Command::new(program("mariadb-install-db"))
        .args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ])
        .env("TMPDIR", temporary_directory(directory)?)
        .arg(format!("--datadir={}", data_directory(directory).display()))
        .arg(format!("--user={}", user(directory)?))
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "mariadb-install-db: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Where the server keeps its temporary tables. A server that starts removes all of them that it finds there:
/// in a place that another one shares, the other one crashes.
fn temporary_directory(directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join("tmp");
    fs::create_dir_all(&path)?;
    Ok(path)
}

fn data_directory(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// Whom the server runs as: it refuses to be root unless told so by name.
fn user(directory: &Path) -> io::Result<String> {
    Ok(fs::metadata(directory)?.uid()).map(|uid| {
        if uid == 0 {
            "root".to_owned()
        } else {
            uid.to_string()
        }
    })
}

/// Debian keeps the server in `/usr/sbin`, which is not on every user's path.
fn program(name: &str) -> PathBuf {
    let outside_path = Path::new("/usr/sbin").join(name);
    if outside_path.exists() {
        outside_path
    } else {
        PathBuf::from(name)
    }
}
