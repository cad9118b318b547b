//! A server as a child process that cannot outlive the tests.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// How often a condition of a server is looked at again.
const POLL: Duration = Duration::from_millis(10);

/// How many lines of a server's log are told when something goes wrong.
const TAIL: usize = 60;

/// A child process, killed and reaped when this is dropped, and killed by the kernel when the test process
/// ends in any other way. Where a test that panics drops it, the end of its log is printed.
#[derive(Debug)]
pub struct ServerProcess {
    name: String,
    log: PathBuf,
    child: Child,
}

// === impl ServerProcess ===

impl ServerProcess {
    /// Starts `command` with its output appended to `log`. `name` is for messages.
    ///
    /// # Errors
    /// The log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> io::Result<ServerProcess> {
        let output = File::options().create(true).append(true).open(log)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = spawn_from_lasting_thread(command)?;
        Ok(ServerProcess {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The exit status if the process has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until something accepts connections on `address`.
    ///
    /// # Errors
    /// The process ended, or `deadline` passed; the message carries the end of its log.
    pub async fn wait_until_listening(&mut self, address: SocketAddr, deadline: Duration) -> io::Result<()> {
        let give_up = Instant::now() + deadline;
        loop {
            if let Some(status) = self.exited() {
                return Err(self.failure(&format!("ended with {status}")));
            }
            let attempt = tokio::net::TcpStream::connect(address);
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_secs(1), attempt).await {
                return Ok(());
            }
            if Instant::now() >= give_up {
                return Err(self.failure(&format!("does not listen on {address} after {deadline:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends the process at once (SIGKILL) and reaps it: when this returns its ports are free.
    pub fn kill(&mut self) {
        // Both calls fail only for a process that was already reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks the process to end (SIGTERM) and waits; past `deadline` it is killed.
    /// Gives its exit status, `None` where it had to be killed.
    pub async fn terminate(&mut self, deadline: Duration) -> Option<ExitStatus> {
        self.signal(libc::SIGTERM);
        let give_up = Instant::now() + deadline;
        while Instant::now() < give_up {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            tokio::time::sleep(POLL).await;
        }
        self.kill();
        None
    }

    /// Stops the process in its tracks (SIGSTOP): its connections stay open and nothing answers.
    pub fn freeze(&mut self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn thaw(&mut self) {
        self.signal(libc::SIGCONT);
    }

    /// What went wrong, with the end of the server's log.
    pub fn failure(&self, what: &str) -> io::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        io::Error::other(format!("{} {what}; the end of its log:\n{tail}", self.name))
    }

    #[allow(unsafe_code)]
    fn signal(&mut self, signal: libc::c_int) {
        if self.exited().is_some() {
            return;
        }
        let pid = self.child.id() as libc::pid_t;
        // SAFETY: no memory is involved; the child was not reaped a line above, so the id is still its own.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.failure("was running"));
        }
        self.kill();
    }
}

/// A directory for one server's data and log, removed with this value, and with the test process at the
/// latest: servers that live in a `static` are never dropped.
#[derive(Debug)]
pub struct ServerDirectory(tempfile::TempDir);

// === impl ServerDirectory ===

impl ServerDirectory {
    /// Creates an empty directory whose name starts with `name`.
    ///
    /// # Errors
    /// The temporary directory cannot be written.
    pub fn create(name: &str) -> io::Result<ServerDirectory> {
        let root = process_directory()?;
        Ok(ServerDirectory(
            tempfile::Builder::new().prefix(name).tempdir_in(root)?,
        ))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// A port of 127.0.0.1 that nothing listens on and that this process was not given before.
///
/// It lies below the range from which the kernel takes the ports of outgoing connections, so that a server
/// finds it free when it is restarted.
///
/// # Panics
/// No port is free.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    // The keys of a `RandomState` differ between processes that run side by side.
    let start = (RandomState::new().hash_one(std::process::id()) % u64::from(COUNT)) as u16;
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!(
        "no port of 127.0.0.1 is free between {FIRST} and {}",
        FIRST + COUNT - 1
    );
}

/// The directory that holds all directories of this process's servers.
fn process_directory() -> io::Result<&'static Path> {
    static ROOT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let created = ROOT.get_or_init(|| {
        let root = tempfile::Builder::new()
            .prefix("safelight-test-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        let root = root.keep();
        remove_when_this_process_ends(&root).map_err(|e| e.to_string())?;
        Ok(root)
    });
    created
        .as_deref()
        .map_err(|reason| io::Error::other(reason.clone()))
}

/// Leaves a shell behind that waits for the end of this process, which closes the pipe to it, and then
/// removes `directory`. It has a process group of its own, so Ctrl-C does not end it first.
fn remove_when_this_process_ends(directory: &Path) -> io::Result<()> {
    static PIPE: OnceLock<std::process::ChildStdin> = OnceLock::new();
    // Servers are killed just after the pipe is closed: one of them may still be writing at the first try.
    let script =
        r#"cat >/dev/null; for again in 1 2 3 4 5; do sleep 0.2; rm -rf -- "$1" 2>/dev/null && exit; done"#;
    let mut janitor = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    if let Some(pipe) = janitor.stdin.take() {
        let _ = PIPE.set(pipe);
    }
    Ok(())
}

/// Spawns from a thread that lives as long as the process, because the death signal below is sent when the
/// spawning *thread* ends, and a test's thread ends with its test.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::SyncSender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                die_with_parent(&mut command);
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let gone = || io::Error::other("the thread that starts servers has ended");
    let (reply, answer) = mpsc::sync_channel(1);
    spawner.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

#[allow(unsafe_code)]
fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let set_signal = move || {
        // SAFETY: both calls are async-signal-safe and touch no memory of ours.
        let (failed, current_parent) = unsafe {
            (
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0,
                libc::getppid(),
            )
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the signal was asked for.
        if current_parent as u32 != parent {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing and takes no lock, as is required between fork and exec.
    unsafe { command.pre_exec(set_signal) };
}
