//! One of our programs as a process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use safelight_testkit::ServerProcess;

use crate::eventually;

/// A service that can be killed and started again with the same settings.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    http: SocketAddr,
    one_core: bool,
    process: Option<ServerProcess>,
}

impl Service {
    /// A program of ours whose probes and metrics are at `http`. Not running yet.
    pub fn new(name: &'static str, http: SocketAddr, log: PathBuf) -> Self {
        Self {
            name,
            arguments: Vec::new(),
            environment: Vec::new(),
            log,
            http,
            one_core: false,
            process: None,
        }
    }

    /// Another one of the same settings, which is told by `variable` to listen at `http`. Not running yet.
    pub fn another(&self, http: SocketAddr, variable: &str, log: PathBuf) -> Self {
        let settings = self.environment.iter().filter(|(name, _)| name != variable);
        Self {
            name: self.name,
            arguments: self.arguments.clone(),
            environment: settings.cloned().collect(),
            log,
            http,
            one_core: self.one_core,
            process: None,
        }
        .variable(variable, http)
    }

    /// With a flag and its value.
    pub fn flag(mut self, flag: &str, value: impl ToString) -> Self {
        self.arguments.extend([flag.to_owned(), value.to_string()]);
        self
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Bound to one core, by `taskset`.
    pub fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// Starts the process, and waits for nothing. The environment holds what was set here and the PATH, so
    /// that a developer's own settings change no test.
    pub fn start(&mut self) {
        let program = crate::program(self.name);
        let mut command = if self.one_core {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "0"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(&self.arguments);
        if let Some(filter) = std::env::var_os("RUST_LOG") {
            command.env("RUST_LOG", filter);
        }
        self.process = Some(ServerProcess::spawn(self.name, command, &self.log).expect("the program starts"));
    }

    /// Waits until `/ready` says yes.
    pub async fn ready(&mut self) {
        let url = self.url("/ready");
        let name = self.name;
        eventually(&format!("{name} is ready"), Duration::from_secs(60), async || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.exited()
            {
                panic!("{}", process.failure(&format!("ended with {status}")));
            }
            let answer = reqwest::get(&url).await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Waits until `/ready` names nothing but `need` as missing.
    pub async fn ready_but_for(&mut self, need: &str) {
        let (name, url) = (self.name, self.url("/ready"));
        let prefix = format!("{need}: ");
        eventually(
            &format!("{name} is ready but for {need}"),
            Duration::from_secs(60),
            async || {
                let text = reqwest::get(&url).await.ok()?.text().await.ok()?;
                (text.lines().count() == 1 && text.starts_with(&prefix) && !text.contains("not checked"))
                    .then_some(())
            },
        )
        .await;
    }

    /// SIGKILL, at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// SIGTERM, as an orderly stop; whether it ended by itself, with success, within 20 seconds.
    pub async fn terminate(&mut self) -> bool {
        match self.process.take() {
            Some(mut process) => process
                .terminate(Duration::from_secs(20))
                .await
                .is_some_and(|status| status.success()),
            None => false,
        }
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut ServerProcess> {
        self.process.as_mut()
    }

    /// The address of its HTTP port.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// A URL on its HTTP port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// The value of a metric, labels included in the name as `/metrics` shows them; 0 where it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = match reqwest::get(self.url("/metrics")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => return 0.0,
        };
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit_once(' '))
            .and_then(|(_, value)| value.parse().ok())
            .unwrap_or(0.0)
    }

    /// The sum of a metric over all its series that bear `label`, such as `outcome="failure"`.
    pub async fn metric_sum(&self, name: &str, label: &str) -> f64 {
        let text = match reqwest::get(self.url("/metrics")).await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => return 0.0,
        };
        let series = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')))
            .filter(|line| line.contains(label));
        let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }

    /// Resident memory in megabytes (10^6 bytes), as the kernel counts it.
    pub fn resident_megabytes(&self) -> f64 {
        let pid = self.process.as_ref().expect("it runs").pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("the kernel counts it");
        let kibibytes: f64 = line
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse()
            .expect("a number");
        kibibytes * 1024.0 / 1e6
    }
}
