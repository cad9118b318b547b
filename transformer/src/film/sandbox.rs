use std::process::Stdio;

use clap::ValueEnum;
use tokio::process::Command;

/// Whether ffmpeg has to be boxed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxMode {
    /// As well as this machine can, with a warning where it cannot.
    Auto,
    /// Or the program does not start.
    Require,
    /// Not at all.
    Off,
}

/// What ffmpeg is started within: it has no network, gets no further rights, writes no core, does not outlive us, and is
/// what is killed where memory runs out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sandbox {
    /// A command that runs the command behind it.
    prefix: Vec<&'static str>,
}

/// By the tools of util-linux. Without `--fork` each becomes the next, so the process that is started is ffmpeg in the end.
const CANDIDATES: [&[&str]; 2] = [
    &[
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--no-new-privs",
        "--",
        "choom",
        "--adjust",
        "1000",
        "--",
        "unshare",
        "--net",
        "prlimit",
        "--core=0",
        "--",
    ],
    // For who is not root.
    &[
        "setpriv",
        "--pdeathsig",
        "KILL",
        "--no-new-privs",
        "--",
        "choom",
        "--adjust",
        "1000",
        "--",
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "prlimit",
        "--core=0",
        "--",
    ],
];

/// Where no namespace may be made, as in a container of few rights: the network has to be kept away by others.
const WITH_NETWORK: &[&str] = &[
    "setpriv",
    "--pdeathsig",
    "KILL",
    "--no-new-privs",
    "--",
    "choom",
    "--adjust",
    "1000",
    "--",
    "prlimit",
    "--core=0",
    "--",
];

// === impl Sandbox ===

impl Sandbox {
    /// The best that works here; `None` where one is required and none does.
    pub(crate) async fn find(mode: SandboxMode) -> Option<Self> {
        if mode == SandboxMode::Off {
            return Some(Self::default());
        }
        for candidate in CANDIDATES {
            if let Some(sandbox) = Self::of(candidate).await {
                return Some(sandbox);
            }
        }
        if mode == SandboxMode::Require {
            return None;
        }
        if let Some(sandbox) = Self::of(WITH_NETWORK).await {
            tracing::warn!("ffmpeg can reach the network: unshare is missing, or not allowed here");
            return Some(sandbox);
        }
        tracing::warn!(
            "ffmpeg runs without a sandbox: setpriv, choom or prlimit is missing, or not allowed here"
        );
        Some(Self::default())
    }

    /// `None` where this one does not work.
    async fn of(candidate: &[&'static str]) -> Option<Self> {
        let sandbox = Self {
            prefix: candidate.to_vec(),
        };
        sandbox.works().await.then_some(sandbox)
    }

    async fn works(&self) -> bool {
        let mut command = self.command("true");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }

    /// A command that runs a program within.
    pub(crate) fn command(&self, program: &str) -> Command {
        let Some((first, rest)) = self.prefix.split_first() else {
            return Command::new(program);
        };
        let mut command = Command::new(first);
        command.args(rest).arg(program);
        command
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn where_no_namespace_may_be_made_the_rest_of_it_holds() {
        let sandbox = Sandbox::of(WITH_NETWORK).await.unwrap();
        let told = sandbox
            .command("cat")
            .arg("/proc/self/status")
            .output()
            .await
            .unwrap();
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(told.contains("NoNewPrivs:\t1"), "{told}");
        let told = sandbox
            .command("cat")
            .arg("/proc/self/oom_score_adj")
            .output()
            .await
            .unwrap();
        assert_eq!(String::from_utf8(told.stdout).unwrap(), "1000\n");
    }

    #[tokio::test]
    async fn within_there_is_no_network() {
        let Some(sandbox) = Sandbox::find(SandboxMode::Require).await else {
            assert!(!rustix::process::geteuid().is_root(), "root can box it in");
            return;
        };
        let seen = sandbox
            .command("cat")
            .arg("/proc/net/dev")
            .output()
            .await
            .unwrap();
        let seen = String::from_utf8(seen.stdout).unwrap();
        let devices: Vec<&str> = seen
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim())
            .collect();
        assert_eq!(devices, ["lo"], "{seen}");
    }
}
