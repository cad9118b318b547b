//! A mail server, by Python's aiosmtpd.

// A test can do nothing with an error of its server but end.
#![allow(clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::server_process::{ServerDirectory, ServerProcess, free_port};
use crate::skip::unless_skipped;

const START_LIMIT: Duration = Duration::from_secs(30);
const SCRIPT: &str = include_str!("smtp_server.py");

/// What [`require_smtp!`](crate::require_smtp) calls: whether aiosmtpd is in the workspace's `.venv`, loud where it is
/// not.
///
/// # Panics
/// It is not, and the variable `CI` is `true`.
pub fn smtp_available_or_skipped(test: &str) -> bool {
    let mut command = Command::new(python());
    command
        .args(["-c", "import aiosmtpd"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    unless_skipped(
        command.status().is_ok_and(|status| status.success()),
        test,
        "aiosmtpd not found in .venv",
        "run scripts/setup-test.sh",
    )
}

/// Returns from the test that calls it, saying so, where aiosmtpd is not in the workspace's `.venv`.
#[macro_export]
macro_rules! require_smtp {
    () => {
        if !$crate::smtp_available_or_skipped(concat!(module_path!(), ", line ", line!())) {
            return;
        }
    };
}

/// How a private mail server is spoken to.
#[derive(Clone, Debug, Default)]
pub struct SmtpOptions {
    /// How connections are secured.
    pub security: SmtpSecurity,
    /// The user and the password that it asks for.
    pub login: Option<(String, String)>,
}

/// How connections to a private mail server are secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// Not at all.
    #[default]
    Plain,
    /// By STARTTLS, without which it takes nothing.
    StartTls,
    /// By TLS from the first byte.
    Tls,
}

/// A mail server of the test's own, on 127.0.0.1, with a certificate for that address and for `localhost`.
#[derive(Debug)]
pub struct SmtpServer {
    process: Option<ServerProcess>,
    directory: ServerDirectory,
    options: SmtpOptions,
    port: u16,
}

/// A mail that the server has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// Whom it came from, by the envelope.
    pub from: String,
    /// Whom it is for, by the envelope.
    pub to: Vec<String>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Who had logged in.
    pub login: Option<String>,
    /// All of it, as it came.
    pub raw: String,
}

/// What the server refuses, by the answers that it gives, such as `550 5.1.1 no such user`.
#[derive(Clone, Debug, Default)]
pub struct SmtpBehavior {
    /// To whoever sends.
    pub mail: Option<String>,
    /// To recipients.
    pub rcpt: BTreeMap<String, String>,
    /// To mails.
    pub data: Option<String>,
    /// Whether it keeps mails and does not say so.
    pub stall: bool,
}

// === impl SmtpServer ===

impl SmtpServer {
    /// Starts a server.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(options: SmtpOptions) -> SmtpServer {
        let directory = ServerDirectory::create("smtp-").expect("a directory");
        fs::write(directory.path().join("server.py"), SCRIPT).expect("the script");
        certify(directory.path());
        let mut server = SmtpServer {
            process: None,
            directory,
            options,
            port: free_port(),
        };
        server.restart().await;
        server
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The URL that says how to speak to it.
    pub fn url(&self) -> String {
        let scheme = match self.options.security {
            SmtpSecurity::Plain => "smtp",
            SmtpSecurity::StartTls => "smtp+starttls",
            SmtpSecurity::Tls => "smtps",
        };
        let login = match &self.options.login {
            Some((user, password)) => format!("{user}:{password}@"),
            None => String::new(),
        };
        format!("{scheme}://{login}127.0.0.1:{}", self.port)
    }

    /// The file of the certificate that its own is signed by.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Ends it at once (SIGKILL): connections to it are refused.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same port, killing it first where it still runs. What it has taken is still there.
    ///
    /// # Panics
    /// It does not start.
    pub async fn restart(&mut self) {
        self.kill();
        let folder = self.directory.path();
        let mut command = Command::new(python());
        command
            .arg(folder.join("server.py"))
            .arg(folder)
            .arg(self.port.to_string());
        match self.options.security {
            SmtpSecurity::Plain => None,
            SmtpSecurity::StartTls => Some("--starttls"),
            SmtpSecurity::Tls => Some("--tls"),
        }
        .map(|flag| {
            command
                .arg(flag)
                .arg(folder.join("server.crt"))
                .arg(folder.join("server.key"))
        });
        if let Some((user, password)) = &self.options.login {
            command.args(["--login", user, password]);
        }
        let mut process = ServerProcess::spawn("aiosmtpd", command, &folder.join("log")).expect("a process");
        process
            .wait_until_listening(self.address(), START_LIMIT)
            .await
            .expect("a mail server");
        self.process = Some(process);
    }

    /// Has it behave so from the next command on.
    ///
    /// # Panics
    /// The file of it cannot be written.
    pub fn behave(&self, behavior: &SmtpBehavior) {
        let text = json!({
            "mail": behavior.mail,
            "rcpt": behavior.rcpt,
            "data": behavior.data,
            "stall": behavior.stall,
        });
        let folder = self.directory.path();
        let unfinished = folder.join("behavior.new");
        fs::write(&unfinished, text.to_string()).expect("a file");
        fs::rename(&unfinished, folder.join("behavior.json")).expect("a file");
    }

    /// What it has taken, in this order.
    ///
    /// # Panics
    /// A mail cannot be read.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        let Ok(entries) = fs::read_dir(self.directory.path().join("mails")) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "eml"))
            .collect();
        paths.sort();
        paths.iter().map(|path| ReceivedMail::read(path)).collect()
    }
}

// === impl ReceivedMail ===

impl ReceivedMail {
    fn read(path: &Path) -> ReceivedMail {
        let raw = fs::read(path).expect("a mail");
        let envelope = fs::read_to_string(path.with_extension("json")).expect("an envelope");
        let envelope: Value = serde_json::from_str(&envelope).expect("an envelope as JSON");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let to = envelope["to"].as_array().cloned().unwrap_or_default();
        ReceivedMail {
            from: text(&envelope["from"]).unwrap_or_default(),
            to: to.iter().filter_map(text).collect(),
            tls: envelope["tls"] == true,
            login: text(&envelope["login"]),
            raw: String::from_utf8_lossy(&raw).into_owned(),
        }
    }

    /// The value of a header, unfolded; `None` where there is none.
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.raw.split("\r\n\r\n").next().unwrap_or_default();
        let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        unfolded.split("\r\n").find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// All of it with quoted-printable undone, to look for words in.
    pub fn words(&self) -> String {
        let joined = self.raw.replace("=\r\n", "");
        let mut bytes = Vec::with_capacity(joined.len());
        let mut rest = joined.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
            match hex.map(|hex| u8::from_str_radix(hex, 16)) {
                Some(Ok(byte)) if first == b'=' => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The workspace's own Python, in which the tests' packages are.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python")
}

/// Writes `ca.pem`, `server.crt` and `server.key` into a folder.
fn certify(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    fs::write(folder.join("ca.pem"), certificate.pem()).expect("a file");
    let issuer = Issuer::new(params, key);

    let key = KeyPair::generate().expect("a key");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    fs::write(folder.join("server.crt"), certificate.pem()).expect("a file");
    fs::write(folder.join("server.key"), key.serialize_pem()).expect("a file");
}
