use safelight_media::MediaError;
use thiserror::Error;

use crate::descriptor::Descriptor;

/// What was found in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Width of the upright picture, in pixels.
    pub width: u32,
    /// Height of the upright picture, in pixels.
    pub height: u32,
    /// The faces, from the largest to the smallest.
    pub faces: Vec<Face>,
}

/// One face. Coordinates are pixels of the upright picture at its own size.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// Where it is; within the picture.
    pub bounds: Bounds,
    /// Two corners of either eye and the base of the nose.
    pub landmarks: Vec<Point>,
    /// The face as numbers.
    pub descriptor: Descriptor,
}

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Left edge.
    pub left: i32,
    /// Upper edge.
    pub top: i32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

/// A point, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// From the left.
    pub x: i32,
    /// From the top.
    pub y: i32,
}

/// Why a picture was not analyzed.
#[derive(Debug, Error)]
pub enum AnalyzeError {
    /// The picture could not be opened or decoded.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// Every worker is busy and the queue is full. Try again later, or add a replica.
    #[error("the work queue is full")]
    Busy,
    /// The models are still being loaded, or the program is stopping.
    #[error("the recognizer is not serving: {0}")]
    NotServing(&'static str),
    /// The worker failed on this picture; it has been replaced.
    #[error("the worker failed on this picture")]
    Crashed,
}
