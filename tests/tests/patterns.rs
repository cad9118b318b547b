//! Jobs of all kinds while every service is killed in turn, ffmpeg too: each job is joined once, each output is there
//! once, one mail tells of each, and the sweep leaves nothing unfinished in the store.
//!
//! `SAFELIGHT_JOBS` sets how many jobs (100), `SAFELIGHT_SEED` makes a run be what an earlier one was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Database, Options};
use safelight_receiver::UploadSweep;
use safelight_store::{Store, StoreArgs};
use safelight_testkit::{require_ffmpeg, require_nsq, require_smtp};
use safelight_tests::{Client, Stack, eventually, photographs};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// For all that is left when nothing is killed any more.
const DEADLINE: Duration = Duration::from_secs(300);

/// How many uploads are under way at once.
const UPLOADS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Film,
    Neither,
}

/// Random numbers that a seed gives again (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// A file to upload, and its name.
#[derive(Clone)]
struct File {
    kind: Kind,
    name: &'static str,
    content: Arc<Vec<u8>>,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn files(samples: &Path, folder: &Path) -> Vec<File> {
    let picture = photographs::copies_of(&samples.join("obama2.jpg"), folder, 1).remove(0);
    let film = folder.join("film.mp4");
    let made = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=s=160x90:r=10:d=2",
        ])
        .args(["-pix_fmt", "yuv420p"])
        .arg(&film)
        .status()
        .unwrap();
    assert!(made.success());
    let picture = std::fs::read(picture).unwrap();
    let cut = picture[..picture.len() / 2].to_vec();
    let file = |kind, name, content: Vec<u8>| File {
        kind,
        name,
        content: Arc::new(content),
    };
    vec![
        file(Kind::Picture, "cat.jpg", picture),
        file(Kind::Film, "clip.mp4", std::fs::read(film).unwrap()),
        file(Kind::Neither, "notes.png", b"this is no picture".to_vec()),
        file(Kind::Neither, "cut.jpg", cut),
    ]
}

/// Uploads until an answer comes, under one key: an upload whose answer was lost is the same job.
async fn upload(client: Client, file: File, number: usize) -> (i64, Kind) {
    let give_up = Instant::now() + DEADLINE;
    let (query, key) = (format!("email=job-{number}@example.org"), format!("job-{number}"));
    loop {
        match client.prepare_under(&key, file.name, &file.content, &query).await {
            Some((200 | 202, body)) => return (body["id"].as_i64().unwrap(), file.kind),
            // Its first try is still held to be under way.
            Some((409, _)) => {}
            Some((status, body)) if (400..500).contains(&status) => panic!("{status} {body}"),
            _ => {}
        }
        assert!(Instant::now() < give_up, "nothing is taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The ffmpegs of a transformer.
fn children_of(transformer: u32) -> Vec<u32> {
    let of = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let parent: u32 = rest.split(' ').nth(1)?.parse().ok()?;
        (parent == transformer && name.starts_with("ff")).then(|| pid.parse().ok())?
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| of(entry.file_name().to_str()?))
        .collect()
}

/// Kills an ffmpeg amid its work, if there is one within a few seconds.
async fn kill_ffmpeg(stack: &mut Stack) -> bool {
    let transformer = stack.transformer.process().unwrap().pid();
    let give_up = Instant::now() + Duration::from_secs(10);
    while Instant::now() < give_up {
        if let Some(child) = children_of(transformer).first() {
            let killed = Command::new("kill").args(["-KILL", &child.to_string()]).status();
            return killed.unwrap().success();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

async fn until_final(client: &Client, count: usize) {
    eventually(&format!("{count} images have ended"), DEADLINE, async || {
        let all = client.images().await?;
        let ended = all
            .values()
            .filter(|image| matches!(image.status.as_str(), "processed" | "failed"));
        (ended.count() >= count).then_some(())
    })
    .await;
}

/// All files below a folder.
fn files_in(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else {
            found.insert(path);
        }
    }
    found
}

fn paths<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<PathBuf> {
    values
        .map(|value| PathBuf::from(value.as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_each_job_joins_once_has_its_outputs_once_and_is_told_of_once() {
    let Some(samples) = photographs::samples() else {
        return;
    };
    require_nsq!();
    require_smtp!();
    require_ffmpeg!();
    let seed = number("SAFELIGHT_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_secs()
    });
    let count = number("SAFELIGHT_JOBS").unwrap_or(100) as usize;
    eprintln!("SAFELIGHT_SEED={seed} SAFELIGHT_JOBS={count}");
    let mut random = Random(seed);
    // Work that a killed processor had is free again soon.
    let stack = Stack::builder().mail().processor("PROCESSOR_LEASE_SECONDS", 5);
    let mut stack = stack.start().await;
    let files = files(&samples, &stack.media());
    let client = stack.client();

    let slots = Arc::new(Semaphore::new(UPLOADS));
    let mut uploading = JoinSet::new();
    for job in 0..count {
        let file = files[[0, 0, 0, 0, 0, 0, 1, 1, 2, 3][random.below(10)]].clone();
        let (client, slots) = (client.clone(), Arc::clone(&slots));
        uploading.spawn(async move {
            let _slot = slots.acquire().await.unwrap();
            upload(client, file, job).await
        });
    }

    let mut killed_ffmpegs = 0;
    let mut order = [
        "receiver",
        "processor",
        "transformer",
        "recognizer",
        "notifier",
        "nsqd",
        "ffmpeg",
    ];
    random.shuffle(&mut order);
    for (turn, victim) in order.iter().enumerate() {
        // So much has gone its way before each.
        until_final(&client, count * turn / (order.len() + 2)).await;
        eprintln!("killing: {victim}");
        let service = match *victim {
            "receiver" => &mut stack.receiver,
            "processor" => &mut stack.processor,
            "transformer" => &mut stack.transformer,
            "recognizer" => &mut stack.recognizer,
            "notifier" => &mut stack.notifier,
            "nsqd" => {
                stack.nsqd.kill();
                stack.nsqd.restart().await;
                continue;
            }
            _ => {
                killed_ffmpegs += usize::from(kill_ffmpeg(&mut stack).await);
                continue;
            }
        };
        service.kill();
        service.start();
        service.ready().await;
    }

    let accepted: BTreeMap<i64, Kind> = uploading.join_all().await.into_iter().collect();
    assert_eq!(accepted.len(), count, "each has an image of its own");
    let all: BTreeMap<i64, _> = client.images().await.unwrap();
    let ids: Vec<i64> = all.keys().copied().collect();
    assert!(
        accepted.keys().all(|id| all.contains_key(id)),
        "what was accepted is recorded"
    );
    assert_eq!(
        all.len(),
        count,
        "each upload is one job, however often it was sent"
    );
    client.wait_until_final(&ids, DEADLINE).await;

    let mut details = BTreeMap::new();
    for id in &ids {
        let what = format!("image {id} is told of");
        let detail = eventually(&what, DEADLINE, async || {
            let detail = client.detail(*id).await?;
            let told = detail["job"]["notifications"].as_array()?.clone();
            (told.len() == 1 && told[0]["state"] == "sent").then_some(detail)
        });
        details.insert(*id, detail.await);
    }
    for (id, kind) in &accepted {
        let detail = &details[id];
        let roles: BTreeSet<&str> = detail["outputs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|output| output["role"].as_str().unwrap())
            .collect();
        let (status, expected): (&str, &[&str]) = match kind {
            Kind::Picture => ("processed", &["thumbnail-small"]),
            Kind::Film => ("processed", &["animation", "frame"]),
            Kind::Neither => ("failed", &[]),
        };
        assert_eq!(detail["status"], status, "{detail:#}");
        assert_eq!(roles, expected.iter().copied().collect(), "{detail:#}");
    }

    // One Message-ID an address, and one address a job. A mail may come twice only where the notifier was killed between
    // the mail server's answer and the record of it.
    let mails = stack.smtp.as_ref().unwrap().mails();
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for mail in &mails {
        let key = mail.header("Message-ID").unwrap();
        keys.entry(mail.to[0].clone()).or_default().insert(key);
    }
    assert!(keys.values().all(|keys| keys.len() == 1), "{keys:?}");
    assert_eq!(keys.len(), ids.len(), "one mail a job");
    eprintln!(
        "jobs {}, mails {}, ffmpegs killed {killed_ffmpegs}",
        ids.len(),
        mails.len()
    );
    assert!(
        mails.len() - ids.len() <= 4,
        "{} mails of {} jobs",
        mails.len(),
        ids.len()
    );

    let store = Store::open(&StoreArgs::of_folder(&stack.store())).unwrap();
    let database = Database::connect(&stack.database_url, &Options::default())
        .await
        .unwrap();
    UploadSweep::new(&database, store.clone())
        .round(Duration::ZERO)
        .await
        .unwrap();
    store.sweep_temporary(Duration::ZERO).unwrap();
    let outputs = details
        .values()
        .flat_map(|detail| detail["outputs"].as_array().unwrap());
    let outputs = paths(outputs.map(|output| &output["uri"]));
    let inputs = paths(details.values().map(|detail| &detail["path"]));
    let recorded: BTreeSet<PathBuf> = outputs.iter().chain(&inputs).cloned().collect();
    assert_eq!(
        recorded.len(),
        outputs.len() + inputs.len(),
        "each has a place of its own"
    );
    assert_eq!(
        files_in(&stack.store()),
        recorded,
        "nothing but what is recorded lies in the store"
    );
}
