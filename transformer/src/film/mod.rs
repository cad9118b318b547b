//! Films, worked on by ffmpeg in a box.
//!
//! What a film is, is told by its first bytes (`container`); the demuxer is forced by that, and demuxers, protocols and
//! decoders are listed (`command`). ffmpeg is a child without a network (`sandbox`), its film is its standard input, it is
//! given so much time and output and no more, and it ends with its caller (`child`).

mod child;
mod command;
mod container;
mod probe;
mod sandbox;

use std::fs::File;
use std::time::Duration;

use self::child::{Ended, Heard, Task};
pub use self::command::Animation;
pub(crate) use self::command::Bounds;
pub(crate) use self::container::Container;
pub(crate) use self::probe::FilmInfo;
use self::sandbox::Sandbox;
pub use self::sandbox::SandboxMode;
use crate::error::TransformError;

/// Works on films.
#[derive(Clone, Debug)]
pub(crate) struct Films {
    sandbox: Sandbox,
    limits: FilmLimits,
}

/// What bounds the work on a film.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilmLimits {
    pub(crate) bounds: Bounds,
    pub(crate) max_bytes: u64,
    pub(crate) max_duration_ms: u64,
    /// For one run of ffmpeg, by the clock.
    pub(crate) within: Duration,
}

/// A film that was opened and found to be one.
#[derive(Debug)]
pub(crate) struct Film {
    pub(crate) file: File,
    pub(crate) container: Container,
    pub(crate) bytes: u64,
}

/// What comes out may be so large, in bytes.
const MOST_OUTPUT: usize = 64 << 20;

/// What ffprobe tells may be so long, in bytes.
const MOST_TOLD: usize = 1 << 20;

// === impl Films ===

impl Films {
    /// `None` where a sandbox is required and none works.
    pub(crate) async fn new(mode: SandboxMode, limits: FilmLimits) -> Option<Self> {
        let sandbox = Sandbox::find(mode).await?;
        Some(Self { sandbox, limits })
    }

    /// Whether a film of this size is worked on.
    pub(crate) fn check_size(&self, bytes: u64) -> Result<(), TransformError> {
        let limit = self.limits.max_bytes;
        if bytes > limit {
            return Err(over(format!(
                "it is too large: {bytes} bytes, at most {limit} are allowed (TRANSFORMER_MAX_FILM_BYTES)"
            )));
        }
        Ok(())
    }

    /// What there is to know of a film.
    pub(crate) async fn info(&self, film: &Film) -> Result<FilmInfo, TransformError> {
        let args = command::probe(film.container, self.limits.bounds);
        let (told, heard) = self.run(film, "ffprobe", args, MOST_TOLD).await?;
        let FilmLimits {
            bounds,
            max_duration_ms,
            ..
        } = self.limits;
        probe::read(&told, &heard, bounds.max_pixels, max_duration_ms)
    }

    /// One frame, as PNG: the first that is not black, or the one at that time.
    pub(crate) async fn frame(&self, film: &Film, at_ms: Option<u64>) -> Result<Vec<u8>, TransformError> {
        let bounds = self.limits.bounds;
        if let Some(at_ms) = at_ms {
            let args = command::frame_at(film.container, bounds, at_ms);
            let frame = self.work(film, args).await?;
            return if frame.is_empty() {
                Err(refused("it is shorter than the time asked for".to_owned()))
            } else {
                Ok(frame)
            };
        }
        let args = command::first_frame_not_black(film.container, bounds);
        let frame = self.work(film, args).await?;
        if !frame.is_empty() {
            return Ok(frame);
        }
        // All of it is black.
        let args = command::frame_at(film.container, bounds, 0);
        self.some(film, args).await
    }

    /// A moving picture, as GIF.
    pub(crate) async fn animation(&self, film: &Film, asked: Animation) -> Result<Vec<u8>, TransformError> {
        let bounds = self.limits.bounds;
        let args = command::animation(film.container, bounds, asked);
        let moving = self.work(film, args).await?;
        if !moving.is_empty() {
            return Ok(moving);
        }
        // A film of one frame has none at the next tick.
        self.some(film, command::still(film.container, bounds, asked))
            .await
    }

    async fn some(&self, film: &Film, args: Vec<String>) -> Result<Vec<u8>, TransformError> {
        let output = self.work(film, args).await?;
        if output.is_empty() {
            return Err(no_pictures());
        }
        Ok(output)
    }

    /// What ffmpeg makes of it. Whether it is too long is seen by what ffmpeg says meanwhile: asking ffprobe first takes as
    /// long as a frame does.
    async fn work(&self, film: &Film, args: Vec<String>) -> Result<Vec<u8>, TransformError> {
        let (output, heard) = self.run(film, "ffmpeg", args, MOST_OUTPUT).await?;
        probe::check_told_duration(&heard, self.limits.max_duration_ms)?;
        Ok(output)
    }

    /// What is wrong with a film, by what was heard.
    fn complaint(&self, heard: &Heard) -> TransformError {
        if let Err(too_long) = probe::check_told_duration(heard, self.limits.max_duration_ms) {
            return too_long;
        }
        if heard.lines().any(probe::is_of_size) {
            return over(probe::too_large(self.limits.bounds.max_pixels));
        }
        if heard.lines().any(|line| line.contains("matches no streams")) {
            return no_pictures();
        }
        refused(format!(
            "it is damaged, or of a kind that is not opened: {}",
            heard.reason()
        ))
    }

    /// Its output, and what was heard of it.
    async fn run(
        &self,
        film: &Film,
        program: &'static str,
        args: Vec<String>,
        most: usize,
    ) -> Result<(Vec<u8>, Heard), TransformError> {
        let within = self.limits.within;
        let task = Task {
            program,
            args,
            input: film.file.try_clone().map_err(cannot_run)?,
            most,
            within,
        };
        match child::run(&self.sandbox, task).await.map_err(cannot_run)? {
            Ended::Well(output, heard) => Ok((output, heard)),
            // The sandbox's way to say that there is no such program.
            Ended::Badly(_) if !is_installed(program) => Err(TransformError::NoFfmpeg),
            Ended::Badly(heard) => Err(self.complaint(&heard)),
            Ended::TooMuch => Err(over(format!(
                "what it becomes is larger than {MOST_OUTPUT} bytes"
            ))),
            Ended::TooLong => Err(over(format!(
                "working on it took longer than {} seconds (TRANSFORMER_FILM_SECONDS)",
                within.as_secs()
            ))),
            // What the system kills it with where memory is short, which is no fault of the film.
            Ended::Died(9) => {
                tracing::warn!(program, "killed from outside, for its memory perhaps");
                Err(TransformError::Crashed)
            }
            Ended::Died(signal) => {
                tracing::warn!(program, signal, "died over a film");
                Err(refused("the decoder crashed over it".to_owned()))
            }
        }
    }
}

fn no_pictures() -> TransformError {
    refused("there are no pictures in it".to_owned())
}

fn refused(reason: String) -> TransformError {
    TransformError::Film(reason)
}

fn over(reason: String) -> TransformError {
    TransformError::FilmLimit(reason)
}

fn cannot_run(error: std::io::Error) -> TransformError {
    if error.kind() == std::io::ErrorKind::NotFound {
        return TransformError::NoFfmpeg;
    }
    tracing::error!(%error, "ffmpeg cannot be run");
    TransformError::Crashed
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
