use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::sandbox::Sandbox;

/// What is run, and its bounds.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) program: &'static str,
    pub(super) args: Vec<String>,
    /// Its standard input.
    pub(super) input: File,
    /// It may write so many bytes.
    pub(super) most: usize,
    /// By the clock.
    pub(super) within: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Ended {
    /// It ended by itself: with this output and what it complained of all the same.
    Well(Vec<u8>, Heard),
    /// It ended by itself, and told why.
    Badly(Heard),
    /// It wrote more than it may, and was killed.
    TooMuch,
    /// Its time was over, and it was killed.
    TooLong,
    /// A signal ended it that was not ours.
    Died(i32),
}

/// What was heard of it on its way: the beginning and the end.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(String);

/// Time to end after SIGTERM; then comes SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// So much of what it tells is kept, from the beginning and from the end.
const BEGINNING: usize = 16 << 10;
const END: usize = 4096;

/// A child with all its own. Dropped before it has ended, it is killed.
struct Group {
    /// Until it has ended.
    leader: Option<Pid>,
}

/// Runs a task. Cancel safe: dropped, it kills the child and all its own.
///
/// # Errors
/// The program cannot be started, or not be read from.
pub(super) async fn run(sandbox: &Sandbox, task: Task) -> io::Result<Ended> {
    let mut command = sandbox.command(task.program);
    command
        .args(&task.args)
        .current_dir("/")
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::from(task.input))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // The signal for when the parent dies is tied to the thread that starts the child: one of the runtime's own, which
    // live as long as it does.
    let mut child = command.spawn()?;
    let mut group = Group::of(child.id());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let working = async {
        let (output, heard) = tokio::join!(bounded(stdout, task.most), Heard::read(stderr));
        let Some(output) = output? else {
            return Ok(Ended::TooMuch);
        };
        let status = child.wait().await?;
        Ok(judge(status, output, heard?))
    };
    let ended = match timeout(task.within, working).await {
        Ok(ended) => ended,
        Err(_) => {
            group.signal(Signal::TERM);
            // Whether it ends or not: what it may have started is killed with it in a moment.
            let _ = timeout(GRACE, child.wait()).await;
            return Ok(Ended::TooLong);
        }
    };
    if !matches!(ended, Ok(Ended::TooMuch)) {
        group.leader = None;
    }
    ended
}

fn judge(status: ExitStatus, output: Vec<u8>, heard: Heard) -> Ended {
    match status.signal() {
        Some(signal) => Ended::Died(signal),
        None if status.success() => Ended::Well(output, heard),
        None => Ended::Badly(heard),
    }
}

/// Reads to the end; `None` as soon as there is more than that.
async fn bounded(from: impl AsyncRead + Unpin, most: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    Ok((bytes.len() <= most).then_some(bytes))
}

// === impl Heard ===

impl Heard {
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Reads to the end.
    async fn read(mut from: impl AsyncRead + Unpin) -> io::Result<Self> {
        let mut kept = Vec::new();
        (&mut from).take(BEGINNING as u64).read_to_end(&mut kept).await?;
        let mut end = Vec::new();
        let mut buffer = [0; END];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            end.extend_from_slice(&buffer[..count]);
            end.drain(..end.len().saturating_sub(END));
        }
        if !end.is_empty() {
            kept.push(b'\n');
            kept.extend_from_slice(&end);
        }
        Ok(Self(String::from_utf8_lossy(&kept).into_owned()))
    }

    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.lines()
    }

    /// Its last complaint, without what means nothing to people: addresses in memory, and our name for the input.
    pub(super) fn reason(&self) -> String {
        let said = || self.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        // Where the level of each line is told, not all of them are complaints.
        let is_complaint = |line: &&str| {
            ["[error] ", "[fatal] ", "[panic] "]
                .iter()
                .any(|level| line.contains(level))
        };
        let line = said().find(is_complaint).or_else(|| said().next());
        let mut line = line.unwrap_or("no reason was given");
        while line.starts_with('[')
            && let Some((_, rest)) = line.split_once("] ")
        {
            line = rest;
        }
        let line = line.strip_prefix("file:/dev/stdin: ").unwrap_or(line);
        line.chars().filter(|c| !c.is_control()).take(200).collect()
    }
}

// === impl Group ===

impl Group {
    fn of(leader: Option<u32>) -> Self {
        let leader = leader
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        Self { leader }
    }

    fn signal(&self, signal: Signal) {
        // An error means that all of them have ended.
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    fn task(script: &str) -> Task {
        Task {
            program: "sh",
            args: vec!["-c".to_owned(), script.to_owned()],
            input: File::open("/dev/null").unwrap(),
            most: 1000,
            within: Duration::from_secs(20),
        }
    }

    async fn ended(task: Task) -> Ended {
        run(&Sandbox::default(), task).await.unwrap()
    }

    /// Whether a process is there and runs: one that was killed and that nobody has asked after yet does not.
    fn is_running(pid: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    const LIMIT: Duration = Duration::from_secs(20);

    async fn written(folder: &TempDir, name: &str) -> String {
        let path: &Path = folder.path();
        let looking = async {
            loop {
                match std::fs::read_to_string(path.join(name)) {
                    Ok(text) if text.ends_with('\n') => return text,
                    _ => tokio::task::yield_now().await,
                }
            }
        };
        timeout(LIMIT, looking).await.expect("it writes its id")
    }

    async fn until_ended(pid: &str) {
        let looking = async {
            while is_running(pid) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, looking).await.expect("it ends");
    }

    #[tokio::test]
    async fn what_it_writes_comes_back_and_what_it_complains_of_is_the_reason() {
        assert!(matches!(ended(task("printf abc")).await, Ended::Well(output, _) if output == b"abc"));
        let complaint = "echo first >&2; echo '[mov @ 0x55d] [x] file:/dev/stdin: no such thing' >&2; exit 3";
        assert!(
            matches!(ended(task(complaint)).await, Ended::Badly(heard) if heard.reason() == "no such thing")
        );
        assert!(
            matches!(ended(task("exit 1")).await, Ended::Badly(heard) if heard.reason() == "no reason was given")
        );
        assert!(matches!(ended(task("kill -SEGV $$")).await, Ended::Died(11)));
    }

    #[tokio::test]
    async fn it_may_not_write_more_than_it_may_nor_drown_us_in_complaints() {
        assert!(matches!(ended(task("yes")).await, Ended::TooMuch));
        let noisy = "yes complaint | head -c 10000000 >&2; echo at last >&2; exit 1";
        let Ended::Badly(heard) = ended(task(noisy)).await else {
            panic!("it ended well");
        };
        assert_eq!(heard.reason(), "at last");
        assert!(heard.0.len() <= BEGINNING + 1 + END);
    }

    #[tokio::test]
    async fn the_reason_is_an_error_where_levels_are_told() {
        let told = "[info] Input\n[x @ 0x1] [error] first\n[y @ 0x2] [fatal] it is broken\n[info] Conversion failed!";
        assert_eq!(Heard(told.to_owned()).reason(), "it is broken");
    }

    #[tokio::test]
    async fn when_its_time_is_over_it_is_asked_to_end_and_then_killed_with_all_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "trap '' TERM; sleep 1000 & echo $! > {0}/child; echo $$ > {0}/parent; wait; sleep 1000",
            folder.path().display()
        );
        let ended = ended(Task {
            within: Duration::from_millis(300),
            ..task(&script)
        });
        assert!(matches!(ended.await, Ended::TooLong));
        for name in ["parent", "child"] {
            until_ended(&written(&folder, name).await).await;
        }
    }

    #[tokio::test]
    async fn when_nobody_wants_it_any_more_it_is_killed_with_all_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "sleep 1000 & echo $! > {0}/child; echo $$ > {0}/parent; wait",
            folder.path().display()
        );
        let running = tokio::spawn(ended(task(&script)));
        let pids = [written(&folder, "parent").await, written(&folder, "child").await];
        assert!(pids.iter().all(|pid| is_running(pid)));
        running.abort();
        for pid in pids {
            until_ended(&pid).await;
        }
    }
}
