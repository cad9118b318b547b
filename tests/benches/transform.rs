//! `make bench-transform`: what is made of pictures and films, beside the tools that one would take instead, and what the
//! road around it costs. Each result is a line `name value unit`; the last one sums up.
//!
//! The transformer is a process of its own, asked over gRPC, and writes into a store. `vipsthumbnail` does the same files
//! in one process of many files, ffmpeg the same frames and animations with the same filters. All of it has one core, and
//! takes turns: a ratio is the median over the rounds of one run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use futures::future::join_all;
use image::imageops::FilterType;
use safelight_proto::transformer::v1::transformer_client::TransformerClient;
use safelight_proto::transformer::v1::{AnimatedGifRequest, CaptureFrameRequest, Size, ThumbnailsRequest};
use safelight_tests::{Stack, eventually, photographs};
use serde_json::json;
use tonic::transport::Channel;

const ROUNDS: usize = 7;
/// Copies of a picture in a round: many files of one process.
const COPIES: usize = 12;
/// Calls under way at once, so that nothing waits for the disk.
const AT_ONCE: usize = 4;
const FILMS: [&str; 3] = ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"];
/// A gigabyte.
const UPLOAD: u64 = 1_000_000_000;
const JOBS: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(600);

fn main() {
    // `cargo bench` runs this with --bench; `cargo test --benches` without: then there is nothing to do.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let (Some(samples), Some(films)) = (photographs::samples(), photographs::films()) else {
        return;
    };
    for program in ["vipsthumbnail", "ffmpeg", "curl"] {
        if Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            eprintln!("SKIPPED: no {program}; run scripts/apt.sh libvips-tools ffmpeg curl");
            return;
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(measure(&samples, &films));
}

async fn measure(samples: &Path, films: &Path) {
    let mut stack = Stack::builder().transformer_on_one_core().start().await;
    let mut bench = Bench {
        client: TransformerClient::connect(stack.transforms_uri()).await.unwrap(),
        media: stack.media(),
        runs: 0,
    };
    let picture = image::open(samples.join("obama.jpg")).unwrap();
    let mut thumbs = Vec::new();
    for (name, width, height) in [("2280x1588", 2280, 1588), ("12mp", 4000, 3000)] {
        let files = bench.copies(&picture, name, width, height);
        let ratio = bench.beside_vips(name, &files).await;
        thumbs.push(ratio);
    }
    let (mut frames, mut gifs) = (Vec::new(), Vec::new());
    for film in FILMS {
        let path = bench.media.join(film);
        fs::copy(films.join(film), &path).unwrap();
        frames.push(bench.beside_ffmpeg("frame", &path).await);
        gifs.push(bench.beside_ffmpeg("gif", &path).await);
    }
    let upload = upload(&mut stack).await;
    jobs(&mut stack, &picture).await;
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    println!(
        "transform: thumb_ratio {:.2} frame_ratio {:.2} gif_ratio {:.2} upload_mb {upload:.1}",
        thumbs.iter().copied().fold(f64::INFINITY, f64::min),
        worst(&frames),
        worst(&gifs),
    );
}

fn tell(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.2} {unit}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a command on the core that the transformer has; how long that took.
fn run(program: &str, arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", "0", program]).args(arguments);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
    begun.elapsed()
}

struct Bench {
    client: TransformerClient<Channel>,
    media: PathBuf,
    /// Each call makes outputs of its own.
    runs: usize,
}

impl Bench {
    fn copies(&self, picture: &image::DynamicImage, name: &str, width: u32, height: u32) -> Vec<String> {
        let large = picture
            .resize_exact(width, height, FilterType::Lanczos3)
            .to_rgb8();
        let plain = self.media.join(format!("{name}.bmp"));
        large.save(&plain).unwrap();
        let first = self.media.join(format!("{name}-0.jpg"));
        // As cameras write them, with colors at half the size.
        let arguments = ["-nostdin", "-v", "error", "-y", "-i", plain.to_str().unwrap()];
        let kind = ["-pix_fmt", "yuvj420p", "-q:v", "3", first.to_str().unwrap()];
        run("ffmpeg", &[&arguments[..], &kind].concat());
        fs::remove_file(plain).unwrap();
        let path = |index| self.media.join(format!("{name}-{index}.jpg"));
        for index in 1..COPIES {
            fs::copy(&first, path(index)).unwrap();
        }
        (0..COPIES)
            .map(|index| path(index).display().to_string())
            .collect()
    }

    fn output(&mut self) -> String {
        self.runs += 1;
        format!("output/bench/{}", self.runs)
    }

    async fn thumbnails(&mut self, files: &[String]) -> Duration {
        let begun = Instant::now();
        for some in files.chunks(AT_ONCE) {
            let calls = some.iter().map(|uri| {
                let request = ThumbnailsRequest {
                    uri: uri.clone(),
                    output: self.output(),
                    sizes: vec![Size {
                        role: "thumbnail-medium".to_owned(),
                        suffix: "_m".to_owned(),
                        width: 320,
                    }],
                };
                let mut client = self.client.clone();
                async move { client.thumbnails(request).await.unwrap() }
            });
            let calls: Vec<_> = calls.collect();
            join_all(calls).await;
        }
        begun.elapsed()
    }

    /// Pictures in a second, and how many of vips' that is.
    async fn beside_vips(&mut self, name: &str, files: &[String]) -> f64 {
        let mut arguments = vec!["--size", "320x", "--output", "%s_vips.jpg[Q=80]"];
        arguments.extend(files.iter().map(String::as_str));
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.thumbnails(files).await.as_secs_f64());
            theirs.push(run("vipsthumbnail", &arguments).as_secs_f64());
        }
        let ratio = median(
            ours.iter()
                .zip(&theirs)
                .map(|(ours, theirs)| theirs / ours)
                .collect(),
        );
        let a_second = |seconds: Vec<f64>| files.len() as f64 / median(seconds);
        tell(&format!("thumbnails_{name}"), a_second(ours), "pictures/s");
        tell(&format!("thumbnails_{name}_vips"), a_second(theirs), "pictures/s");
        tell(&format!("thumbnails_{name}_ratio"), ratio, "of vips");
        ratio
    }

    async fn film(&mut self, what: &str, uri: &str) -> Duration {
        let (uri, output) = (uri.to_owned(), self.output());
        let begun = Instant::now();
        if what == "frame" {
            let request = CaptureFrameRequest {
                uri,
                output,
                at_ms: None,
            };
            self.client.capture_frame(request).await.unwrap();
        } else {
            let request = AnimatedGifRequest {
                uri,
                output,
                ..AnimatedGifRequest::default()
            };
            self.client.animated_gif(request).await.unwrap();
        }
        begun.elapsed()
    }

    /// How many times as long as plain ffmpeg.
    async fn beside_ffmpeg(&mut self, what: &str, film: &Path) -> f64 {
        const FRAME: &str = "blackframe=amount=0:threshold=32,metadata=select:key=lavfi.blackframe.pblack:value=98:function=less";
        const GIF: &str = "[0:v:0]trim=end=10,fps=10:eof_action=pass,scale=w=min(120\\,iw):h=min(480\\,ih):\
             force_original_aspect_ratio=decrease:flags=lanczos,split[a][b];[a]palettegen=stats_mode=diff[p];\
             [b][p]paletteuse=dither=bayer:bayer_scale=5:diff_mode=rectangle[o]";
        let uri = film.to_str().unwrap();
        let made = film.with_extension(if what == "frame" { "png" } else { "gif" });
        let mut arguments = vec!["-nostdin", "-v", "error", "-y", "-i", uri];
        arguments.extend(match what {
            "frame" => ["-map", "0:v:0", "-vf", FRAME, "-frames:v", "1"],
            _ => ["-filter_complex", GIF, "-map", "[o]", "-frames:v", "100"],
        });
        arguments.push(made.to_str().unwrap());
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.film(what, uri).await.as_secs_f64());
            theirs.push(run("ffmpeg", &arguments).as_secs_f64());
        }
        let ratio = median(
            ours.iter()
                .zip(&theirs)
                .map(|(ours, theirs)| ours / theirs)
                .collect(),
        );
        let name = film.file_stem().unwrap().display();
        tell(&format!("{what}_{name}"), median(ours) * 1e3, "ms");
        tell(&format!("{what}_{name}_ffmpeg"), median(theirs) * 1e3, "ms");
        tell(&format!("{what}_{name}_ratio"), ratio, "of ffmpeg");
        ratio
    }
}

/// What the receiver's memory grows by while a gigabyte is uploaded, in megabytes.
async fn upload(stack: &mut Stack) -> f64 {
    let file = stack.media().join("large.bin");
    let sparse = fs::File::create(&file).unwrap();
    sparse.set_len(UPLOAD).unwrap();
    let before = stack.receiver.resident_megabytes();
    let mut most = before;
    let mut curl = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--fail"])
        .args(["--form", &format!("data=@{}", file.display())])
        .arg(stack.receiver.url("/prepare?email=a@example.org"))
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        most = most.max(stack.receiver.resident_megabytes());
        if let Some(status) = curl.try_wait().unwrap() {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "the upload was not taken");
    tell(
        "upload",
        UPLOAD as f64 / 1e6 / begun.elapsed().as_secs_f64(),
        "MB/s",
    );
    tell("upload_memory", most - before, "MB");
    fs::remove_file(file).unwrap();
    most - before
}

/// The processor time that a process has used, in seconds.
fn used(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // A hundred a second on every Linux there is.
    ticks / 100.0
}

/// A thousand small pictures in one batch: how long until it has joined, and the processor time of all that is not a
/// transform for each.
async fn jobs(stack: &mut Stack, picture: &image::DynamicImage) {
    let small = picture.resize(160, 160, FilterType::Triangle).to_rgb8();
    let folder = stack.media();
    let first = folder.join("job-0.jpg");
    small.save(&first).unwrap();
    let path = |index: usize| folder.join(format!("job-{index}.jpg"));
    for index in 1..JOBS {
        fs::copy(&first, path(index)).unwrap();
    }
    let entries: Vec<_> = (0..JOBS).map(|index| json!({ "path": path(index) })).collect();
    let body = json!({ "paths": entries, "email": "a@example.org" }).to_string();
    let around = [
        ("receiver", stack.receiver.process().unwrap().pid()),
        ("processor", stack.processor.process().unwrap().pid()),
        ("mariadb", stack.mariadb.pid().unwrap()),
    ];
    let before = around.map(|(_, pid)| used(pid));
    let begun = Instant::now();
    let answer = reqwest::Client::new()
        .post(stack.receiver.url("/images/post"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    let entries: Vec<serde_json::Value> = answer.json().await.unwrap();
    let last = entries
        .iter()
        .filter_map(|entry| entry["id"].as_i64())
        .max()
        .unwrap();
    let client = stack.client();
    eventually("the batch has joined", DEADLINE, async || {
        // Each time the database counts a thousand pictures' tasks, which is no part of the road.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let detail = client.detail(last).await?;
        detail["job"]["joined_at_ms"].as_i64()
    })
    .await;
    let took = begun.elapsed().as_secs_f64();
    tell("jobs", JOBS as f64 / took, "pictures/s");
    let mut sum = 0.0;
    for ((name, pid), before) in around.into_iter().zip(before) {
        let each = (used(pid) - before) * 1e3 / JOBS as f64;
        tell(&format!("jobs_{name}"), each, "ms/picture");
        sum += each;
    }
    tell("jobs_around", sum, "ms/picture");
}
