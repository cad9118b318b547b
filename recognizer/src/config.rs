use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use safelight_media::ConfigError;
use thiserror::Error;

use crate::models::ModelsError;
use crate::working_size::WorkingSize;

/// How a recognizer works.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// the folder with the model files
    #[arg(
        long,
        env = "MODELS_DIR",
        value_name = "DIR",
        default_value = "./.tools/models"
    )]
    pub models_dir: PathBuf,

    /// a folder with pictures of known people, named `name.jpg` or `name_1.jpg`
    #[arg(long, env = "KNOWN_PEOPLE", value_name = "DIR")]
    pub known_people: Option<PathBuf>,

    /// how often that folder is looked at when nothing was heard of it, in seconds from 1
    #[arg(
        long = "known-people-rescan",
        env = "KNOWN_PEOPLE_RESCAN",
        default_value = "5",
        value_parser = seconds,
        value_name = "SECONDS"
    )]
    pub rescan: Duration,

    /// how often the database is asked whether people changed, in seconds from 1
    #[arg(
        long = "known-people-poll",
        env = "KNOWN_PEOPLE_POLL",
        default_value = "2",
        value_parser = seconds,
        value_name = "SECONDS"
    )]
    pub poll: Duration,

    /// a folder where what was found in the pictures of known people is kept between starts
    /// [default: safelight/samples in the user's cache folder]
    #[arg(long = "recognizer-cache", env = "RECOGNIZER_CACHE", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// threads that recognize, each with its own models, from 1 to 256 [default: one a core]
    #[arg(
        long = "recognizer-workers",
        env = "RECOGNIZER_WORKERS",
        value_parser = clap::value_parser!(u16).range(1..=256),
        value_name = "NUMBER"
    )]
    pub workers: Option<u16>,

    /// pictures that may wait for a worker, from 1; more are answered RESOURCE_EXHAUSTED
    #[arg(
        id = "recognizer-queue",
        long = "recognizer-queue",
        env = "RECOGNIZER_QUEUE",
        default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..),
        value_name = "NUMBER"
    )]
    pub queue: u16,

    /// two faces that are nearer to each other than this are one person, from 0 to 2
    #[arg(
        long = "recognizer-tolerance",
        env = "RECOGNIZER_TOLERANCE",
        default_value_t = 0.6,
        value_parser = tolerance,
        value_name = "DISTANCE"
    )]
    pub tolerance: f32,

    /// pictures whose longest side is shorter than this are scaled up to be searched, in pixels from 100
    #[arg(
        long = "recognizer-shortest",
        env = "RECOGNIZER_SHORTEST",
        default_value_t = 800,
        value_parser = clap::value_parser!(u32).range(100..=10_000),
        value_name = "PIXELS"
    )]
    pub shortest: u32,

    /// pictures whose longest side is longer than this are scaled down to be searched, in pixels from 100
    #[arg(
        long = "recognizer-longest",
        env = "RECOGNIZER_LONGEST",
        default_value_t = 1280,
        value_parser = clap::value_parser!(u32).range(100..=10_000),
        value_name = "PIXELS"
    )]
    pub longest: u32,

    /// faces of one picture that are described, the largest first, from 1
    #[arg(
        long = "recognizer-max-faces",
        env = "RECOGNIZER_MAX_FACES",
        default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(1..),
        value_name = "NUMBER"
    )]
    pub max_faces: u16,

    /// memory that decoded pictures may take at once, in MiB from 1; a larger picture is decoded alone
    #[arg(
        long = "recognizer-decode-memory",
        env = "RECOGNIZER_DECODE_MEMORY",
        default_value_t = 192,
        value_parser = clap::value_parser!(u32).range(1..),
        value_name = "MIB"
    )]
    pub decode_memory: u32,
}

/// Why a recognizer did not start. `Display` is one line that names the variable to change.
#[derive(Debug, Error)]
pub enum StartError {
    /// The models are not there, or not the right ones.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system did not give the threads.
    #[error("RECOGNIZER_WORKERS: the threads could not be started: {0}")]
    Threads(std::io::Error),
}

// === impl Config ===

impl Config {
    pub(crate) fn workers(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.workers.map_or_else(cores, usize::from)
    }

    pub(crate) fn working_size(&self) -> Result<WorkingSize, ConfigError> {
        if self.shortest > self.longest {
            return Err(ConfigError {
                variable: "RECOGNIZER_SHORTEST",
                value: self.shortest.to_string(),
                expected: "at most RECOGNIZER_LONGEST",
            });
        }
        Ok(WorkingSize {
            shortest: self.shortest,
            longest: self.longest,
        })
    }

    /// The folder that is set, or the user's cache folder by the XDG base directory specification.
    pub(crate) fn cache_dir(&self) -> Option<PathBuf> {
        let absolute = |variable| {
            std::env::var_os(variable)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        self.cache_dir.clone().or_else(|| {
            let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
            Some(cache?.join("safelight/samples"))
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds.into())),
        _ => Err("a whole number of seconds from 1".to_owned()),
    }
}

fn tolerance(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(distance) if (0.0..=2.0).contains(&distance) => Ok(distance),
        _ => Err("a number from 0 to 2".to_owned()),
    }
}
