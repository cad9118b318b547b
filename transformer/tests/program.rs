//! The program itself: what becomes of ffmpeg when it is killed, and what it answers where there is no ffmpeg.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use safelight_proto::transformer::v1::transformer_client::TransformerClient;
use safelight_proto::transformer::v1::{
    AnimatedGifRequest, CaptureFrameRequest, ProbeRequest, Size, ThumbnailsRequest,
};
use safelight_testkit::require_ffmpeg;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

#[path = "../../media/tests/fixtures/mod.rs"]
mod fixtures;

const DEADLINE: Duration = Duration::from_secs(30);

/// The program, with a folder for pictures and a store. Is killed when dropped.
struct Program {
    folder: TempDir,
    process: Child,
    client: TransformerClient<Channel>,
}

// === impl Program ===

impl Program {
    async fn start(search_path: &OsStr, sandbox: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (pictures, store) = (folder.path().join("pictures"), folder.path().join("store"));
        fs::create_dir(&pictures).unwrap();
        let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_safelight-transformer"))
            .env_clear()
            .env("PATH", search_path)
            .env("MEDIA_ROOTS", &pictures)
            .env("STORAGE_URL", format!("file://{}", store.display()))
            .envs([
                ("TRANSFORMER_LISTEN", "127.0.0.1:0"),
                ("TRANSFORMER_HTTP_LISTEN", "127.0.0.1:0"),
                ("TRANSFORMER_SANDBOX", sandbox),
                ("LOG_FORMAT", "json"),
            ])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let address = timeout(DEADLINE, listening(&mut process)).await.unwrap();
        let client = TransformerClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        Self {
            folder,
            process,
            client,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("pictures").join(name)
    }

    fn picture(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    async fn frame(&self, uri: &str) -> Result<(), Status> {
        frame(self.client.clone(), uri.to_owned()).await
    }

    async fn gif(&self, uri: &str) -> Result<(), Status> {
        let request = AnimatedGifRequest {
            uri: uri.to_owned(),
            output: "output/1/clip".to_owned(),
            ..AnimatedGifRequest::default()
        };
        self.client.clone().animated_gif(request).await.map(drop)
    }

    async fn probe(&self, uri: &str) -> Result<(), Status> {
        let request = ProbeRequest { uri: uri.to_owned() };
        self.client.clone().probe(request).await.map(drop)
    }

    async fn thumbnail(&self, uri: &str) -> Result<(), Status> {
        let request = ThumbnailsRequest {
            uri: uri.to_owned(),
            output: "output/1/cat".to_owned(),
            sizes: vec![Size {
                role: "thumbnail-small".to_owned(),
                suffix: "_t".to_owned(),
                width: 10,
            }],
        };
        self.client.clone().thumbnails(request).await.map(drop)
    }
}

async fn frame(mut client: TransformerClient<Channel>, uri: String) -> Result<(), Status> {
    let request = CaptureFrameRequest {
        uri,
        output: "output/1/clip".to_owned(),
        at_ms: None,
    };
    client.capture_frame(request).await.map(drop)
}

/// Where it listens, as its log says.
async fn listening(process: &mut Child) -> String {
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let line = loop {
        let line = lines.next_line().await.unwrap().expect("the program goes on");
        if line.contains("listening") {
            break line;
        }
    };
    // What it says later must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let address = line.split("\"grpc\":\"").nth(1).unwrap();
    address.split('"').next().unwrap().to_owned()
}

/// A process, as `/proc` shows it.
struct Seen {
    name: String,
    state: char,
    parent: u32,
}

fn seen(id: u32) -> Option<Seen> {
    // PID (NAME) STATE PARENT …; a name may have anything in it.
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let mut fields = after.split(' ');
    Some(Seen {
        name: before.split_once('(')?.1.to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
    })
}

/// Whether it is there: one that was killed and that nobody has asked after yet is not.
fn is_alive(id: u32) -> bool {
    seen(id).is_some_and(|seen| !matches!(seen.state, 'Z' | 'X'))
}

/// The child of that name.
fn child_of(parent: u32, name: &str) -> Option<u32> {
    let ids = fs::read_dir("/proc").unwrap();
    let mut ids = ids.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    ids.find(|id| {
        let seen = seen(*id);
        is_alive(*id) && seen.is_some_and(|seen| seen.parent == parent && seen.name == name)
    })
}

async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

fn signal(name: &str, id: u32) {
    Command::new("kill")
        .args([name, &id.to_string()])
        .status()
        .unwrap();
}

/// Kills what the test found, where the program did not.
struct Leftover(u32);

impl Drop for Leftover {
    fn drop(&mut self) {
        if seen(self.0).is_some_and(|seen| seen.name == "ffmpeg") {
            signal("-KILL", self.0);
        }
    }
}

/// Five minutes of black.
fn black_film(path: &Path) {
    let ffmpeg = |args: &[&OsStr]| {
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(args)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let second = path.with_file_name("second.mp4");
    let source = [
        "-f",
        "lavfi",
        "-i",
        "color=black:s=64x48:r=10:d=1",
        "-pix_fmt",
        "yuv420p",
    ];
    let mut args: Vec<&OsStr> = source.iter().map(OsStr::new).collect();
    args.push(second.as_os_str());
    ffmpeg(&args);
    let again = ["-stream_loop", "300", "-i"];
    let mut args: Vec<&OsStr> = again.iter().map(OsStr::new).collect();
    args.extend([
        second.as_os_str(),
        OsStr::new("-c"),
        OsStr::new("copy"),
        path.as_os_str(),
    ]);
    ffmpeg(&args);
}

/// A search path on which ffmpeg is there, but reads its film as slowly as it would be watched.
fn slow_ffmpeg(folder: &Path) -> OsString {
    let search_path = std::env::var_os("PATH").unwrap();
    let ffmpeg = std::env::split_paths(&search_path)
        .map(|folder| folder.join("ffmpeg"))
        .find(|program| program.is_file())
        .unwrap();
    let script = folder.join("ffmpeg");
    fs::write(
        &script,
        format!("#!/bin/sh\nexec {} -re \"$@\"\n", ffmpeg.display()),
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let folders = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&search_path));
    std::env::join_paths(folders).unwrap()
}

#[tokio::test]
async fn ffmpeg_dies_with_a_transformer_that_is_killed() {
    require_ffmpeg!();
    let slow = tempfile::tempdir().unwrap();
    let mut program = Program::start(&slow_ffmpeg(slow.path()), "require").await;
    let film = program.path("black.mp4");
    black_film(&film);

    let uri = film.to_str().unwrap().to_owned();
    let asking = tokio::spawn(frame(program.client.clone(), uri));
    let transformer = program.process.id().unwrap();
    let ffmpeg = eventually("ffmpeg works", || child_of(transformer, "ffmpeg")).await;
    let _leftover = Leftover(ffmpeg);
    // It has minutes before it, and nothing to write to anybody before its end.
    program.process.kill().await.unwrap();
    eventually("ffmpeg is dead", || (!is_alive(ffmpeg)).then_some(())).await;
    assert!(asking.await.unwrap().is_err());
}

#[tokio::test]
async fn without_ffmpeg_films_are_unimplemented_and_pictures_are_not() {
    let tools = tempfile::tempdir().unwrap();
    let boxed = tools.path().join("boxed");
    fs::create_dir(&boxed).unwrap();
    for tool in ["setpriv", "choom", "unshare", "prlimit", "true"] {
        // In either of two folders, or not there.
        for folder in ["/usr/bin", "/bin"] {
            let program = Path::new(folder).join(tool);
            if program.exists() && !boxed.join(tool).exists() {
                symlink(program, boxed.join(tool)).unwrap();
            }
        }
    }
    let nothing = tools.path().join("nothing");
    fs::create_dir(&nothing).unwrap();

    for search_path in [boxed, nothing] {
        let program = Program::start(search_path.as_os_str(), "auto").await;
        let film = program.picture("clip.mp4", b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41");
        for answer in [
            program.probe(&film).await,
            program.frame(&film).await,
            program.gif(&film).await,
        ] {
            let refused = answer.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
            assert_eq!(
                refused.message(),
                "films need ffmpeg and ffprobe, which are not installed here"
            );
        }
        let picture = program.picture("cat.jpg", &fixtures::jpeg(&fixtures::corners(40, 30)));
        program.thumbnail(&picture).await.unwrap();
        program.probe(&picture).await.unwrap();
    }
}
