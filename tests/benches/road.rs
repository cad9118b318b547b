//! `make bench`: how fast and how small the road is. Each result is a line `name value unit`.
//!
//! The recognizer runs with two workers on one core, which is its own where there are several.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use image::imageops::FilterType;
use safelight_database::{Database, Options};
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::recognizer::v1::ListPeopleRequest;
use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient;
use safelight_tests::{Stack, eventually, photographs};
use serde_json::json;
use tonic::transport::Channel;

const CLIENTS: usize = 32;
const SINGLE_POSTS: Duration = Duration::from_secs(10);
const BULK_CLIENTS: usize = 4;
const BULK_POSTS: usize = 100;
const BULK_SIZE: usize = 1000;
const CALLS: usize = 40;

fn main() {
    // `cargo bench` runs this with --bench; `cargo test --benches` without: then there is nothing to do.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let Some(samples) = photographs::samples() else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    // The recognizer gets the first core for itself: this program, and all it starts, run on the others.
    let cores = std::thread::available_parallelism().expect("cores").get();
    run_on(cores.min(2) - 1, cores - 1);
    runtime.block_on(recognizing(&samples));
    run_on(0, cores - 1);
    runtime.block_on(accepting());
}

/// Binds this program and what it will start to the cores from `first` to `last`.
fn run_on(first: usize, last: usize) {
    let bound = Command::new("taskset")
        .args(["--all-tasks", "--cpu-list", "--pid"])
        .args([format!("{first}-{last}"), std::process::id().to_string()])
        .stdout(Stdio::null())
        .status();
    assert!(bound.expect("taskset can be started").success());
}

fn tell(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

/// Identifying one person, warm, over gRPC, with few and with many known people.
async fn recognizing(samples: &Path) {
    let mut stack = Stack::builder()
        .recognizer("RECOGNIZER_WORKERS", 2)
        .recognizer_on_one_core()
        .start()
        .await;
    stack.know("obama", &samples.join("obama.jpg")).await;
    let small = scaled(
        &samples.join("obama2.jpg"),
        stack.media().join("small.png"),
        600,
        300,
    );
    let large = scaled(
        &samples.join("obama2.jpg"),
        stack.media().join("large.jpg"),
        4000,
        3000,
    );
    let database = Database::connect(&stack.database_url, &Options::default())
        .await
        .unwrap();
    let mut client = IdentifyClient::connect(format!("http://{}", stack.grpc))
        .await
        .unwrap();

    know_strangers(&stack, &database, 2).await;
    identify(&mut client, "identify_600x300_3_people", &small).await;
    know_strangers(&stack, &database, 2999).await;
    identify(&mut client, "identify_600x300_3000_people", &small).await;
    identify(&mut client, "identify_12_megapixels", &large).await;
    // Both workers busy with large pictures at once.
    let busy = (0..8).map(|_| {
        let (mut client, path) = (client.clone(), large.clone());
        async move {
            client
                .identify(IdentifyRequest { image_path: path })
                .await
                .map(drop)
        }
    });
    join_all(busy)
        .await
        .into_iter()
        .for_each(|answer| answer.unwrap());
    tell(
        "recognizer_resident_2_workers",
        stack.recognizer.resident_megabytes(),
        "MB",
    );
    stack.recognizer.kill();
}

async fn identify(client: &mut IdentifyClient<Channel>, name: &str, path: &str) {
    let mut took = Vec::with_capacity(CALLS);
    for call in 0..CALLS + 3 {
        let begun = Instant::now();
        let answer = client
            .identify(IdentifyRequest {
                image_path: path.to_owned(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.image_name, "obama_1.jpg", "{name}");
        // The first calls warm it up.
        if call >= 3 {
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
    }
    took.sort_by(f64::total_cmp);
    tell(&format!("{name}_median"), took[took.len() / 2], "ms");
    tell(&format!("{name}_p95"), took[took.len() * 95 / 100], "ms");
}

/// A copy of the photograph, cut and scaled to fill exactly so many pixels.
fn scaled(photograph: &Path, target: PathBuf, width: u32, height: u32) -> String {
    let picture = image::open(photograph).unwrap();
    // The whole picture, letterboxed, so that the face stays in it.
    let fitted = picture.resize(width, height, FilterType::Triangle).to_rgb8();
    let mut canvas = image::RgbImage::new(width, height);
    let (x, y) = ((width - fitted.width()) / 2, (height - fitted.height()) / 2);
    image::imageops::replace(&mut canvas, &fitted, i64::from(x), i64::from(y));
    canvas.save(&target).unwrap();
    target.into_os_string().into_string().unwrap()
}

/// Makes people known who are nobody's neighbor, until there are `count` of them.
async fn know_strangers(stack: &Stack, database: &Database, count: usize) {
    let known = database.people().list().await.unwrap().len();
    let sample = database
        .people()
        .list()
        .await
        .unwrap()
        .into_iter()
        .flat_map(|person| person.samples)
        .next();
    let (model, version) = match sample {
        Some(sample) => (sample.model, sample.model_version),
        None => stack.model().await,
    };
    for index in known..count {
        // Unit-sized descriptors far from any face: dlib's lie within 1 of the origin.
        let mut descriptor = vec![0.0_f32; 128];
        descriptor[index % 128] = 4.0 + index as f32 * 0.01;
        let mut hash = [0_u8; 32];
        hash[..8].copy_from_slice(&(index as u64).to_le_bytes());
        let name = format!("stranger {index}");
        let file = format!("stranger{index}_1.jpg");
        database
            .people()
            .enroll(&name, &file, hash, Some(&descriptor), &model, &version, None)
            .await
            .unwrap();
    }
    let url = format!("http://{}", stack.grpc);
    eventually("all are known", Duration::from_secs(60), async || {
        let mut client = RecognizerClient::connect(url.clone())
            .await
            .ok()?
            .max_decoding_message_size(16 << 20);
        let people = client
            .list_people(ListPeopleRequest {})
            .await
            .ok()?
            .into_inner()
            .people;
        (people.len() > count).then_some(())
    })
    .await;
}

/// The receiver against MariaDB: single posts from many clients, then bulk posts.
async fn accepting() {
    let mut stack = Stack::builder().start().await;
    // The road behind the receiver would share the cores with the measurement.
    stack.recognizer.kill();
    stack.processor.kill();
    let http = reqwest::Client::builder()
        .pool_max_idle_per_host(CLIENTS)
        .build()
        .unwrap();
    let media = stack.media();

    let url = stack.receiver.url("/image/post");
    let posted = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let (http, url, posted, media) = (http.clone(), url.clone(), Arc::clone(&posted), media.clone());
        tokio::spawn(async move {
            let mut index = 0;
            while begun.elapsed() < SINGLE_POSTS {
                let path = media.join(format!("single_{client}_{index}.jpg"));
                let answer = http
                    .post(&url)
                    .body(json!({ "path": path }).to_string())
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status().as_u16(), 202);
                answer.bytes().await.unwrap();
                posted.fetch_add(1, Ordering::Relaxed);
                index += 1;
            }
        })
    });
    join_all(clients)
        .await
        .into_iter()
        .for_each(|client| client.unwrap());
    let rate = posted.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    tell("receiver_single_posts", rate, "posts/s");

    let url = stack.receiver.url("/images/post");
    let begun = Instant::now();
    let clients = (0..BULK_CLIENTS).map(|client| {
        let (http, url, media) = (http.clone(), url.clone(), media.clone());
        tokio::spawn(async move {
            for post in (client..BULK_POSTS).step_by(BULK_CLIENTS) {
                let paths = (0..BULK_SIZE)
                    .map(|index| json!({ "path": media.join(format!("bulk_{post}_{index}.jpg")) }));
                let body = json!({ "paths": paths.collect::<Vec<_>>() }).to_string();
                let answer = http.post(&url).body(body).send().await.unwrap();
                assert_eq!(answer.status().as_u16(), 202);
                answer.bytes().await.unwrap();
            }
        })
    });
    join_all(clients)
        .await
        .into_iter()
        .for_each(|client| client.unwrap());
    let rate = (BULK_POSTS * BULK_SIZE) as f64 / begun.elapsed().as_secs_f64();
    tell("receiver_bulk_posts", rate, "images/s");
    tell("receiver_resident", stack.receiver.resident_megabytes(), "MB");

    // The processor with all of it to do, and a recognizer that is away and then comes back.
    stack.processor.start();
    stack.processor.ready_but_for("recognizer").await;
    stack.recognizer.start();
    stack.recognizer.ready().await;
    eventually(
        "the processor has failed some of the missing pictures",
        Duration::from_secs(60),
        async || {
            (stack
                .processor
                .metric("processor_images_total{outcome=\"failed\"}")
                .await
                >= 2000.0)
                .then_some(())
        },
    )
    .await;
    tell("processor_resident", stack.processor.resident_megabytes(), "MB");

    let pages = (0..200).map(|_| reqwest::get(stack.frontend.url("/")));
    for page in pages {
        assert!(page.await.unwrap().text().await.unwrap().contains("bulk_"));
    }
    tell("frontend_resident", stack.frontend.resident_megabytes(), "MB");
}
