use safelight_media::MediaError;
use safelight_store::StoreError;
use thiserror::Error;

/// Why nothing was made. `Display` is a sentence for the person who sent the medium.
#[derive(Debug, Error)]
pub enum TransformError {
    /// The request cannot be served as it is.
    #[error("{0}")]
    Request(String),
    /// The medium.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The film.
    #[error("the film cannot be worked on: {0}")]
    Film(String),
    /// The film, or the work on it, is over a limit.
    #[error("the film cannot be worked on: {0}")]
    FilmLimit(String),
    /// It is no medium of any kind that is opened.
    #[error("the file is neither a picture nor a film")]
    NoMedium,
    /// It is a picture, where a film is needed.
    #[error("the file is not a film")]
    NoFilm,
    /// Films need ffmpeg.
    #[error("films need ffmpeg and ffprobe, which are not installed here")]
    NoFfmpeg,
    /// The store did not take what was made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Too many wait already. Nothing was begun.
    #[error("the work queue is full")]
    Busy,
    /// The work crashed.
    #[error("the worker failed")]
    Crashed,
}
