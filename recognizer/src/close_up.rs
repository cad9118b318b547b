use dlib_face_recognition::{ImageMatrix, Point as DlibPoint, Rectangle};
use fast_image_resize::Resizer;
use image::RgbImage;

use crate::analysis::{Bounds, Point};
use crate::matrix;
use crate::working_size::{resize, scaled};

/// The width that a face gets in a close-up, in pixels. The network sees faces of about 100.
const FACE_WIDTH: f64 = 240.0;

/// What is kept around the face, as a part of its width: a head that is turned or tilted by half a right
/// angle still lies inside.
const MARGIN: f64 = 0.75;

/// A face cut out of the picture at its own resolution.
///
/// Of a picture that was scaled down to be searched, the faces are described from what the camera saw and
/// not from the smaller copy.
pub(crate) struct CloseUp {
    pub(crate) matrix: ImageMatrix,
    /// The face within the close-up.
    pub(crate) face: Rectangle,
    left: f64,
    top: f64,
    scale: f64,
}

// === impl CloseUp ===

impl CloseUp {
    /// `face` in pixels of `picture`; it may reach over its edges. `None` where it lies outside.
    pub(crate) fn new(resizer: &mut Resizer, picture: &RgbImage, face: &FaceBox) -> Option<Self> {
        let margin = MARGIN * face.width();
        let edge = |at: f64, side: u32| at.clamp(0.0, f64::from(side)).round() as u32;
        let left = edge(face.left - margin, picture.width());
        let top = edge(face.top - margin, picture.height());
        let right = edge(face.right + margin, picture.width());
        let bottom = edge(face.bottom + margin, picture.height());
        let (width, height) = (right.checked_sub(left)?, bottom.checked_sub(top)?);
        if width == 0 || height == 0 {
            return None;
        }
        let scale = (FACE_WIDTH / face.width()).min(1.0);
        let part = (left, top, width, height);
        let cut = resize(
            resizer,
            picture,
            part,
            scaled(width, scale),
            scaled(height, scale),
        );
        let (left, top) = (f64::from(left), f64::from(top));
        let within = |at: f64, from: f64| ((at - from) * scale).round() as i64;
        let face = Rectangle {
            left: within(face.left, left),
            top: within(face.top, top),
            right: within(face.right, left),
            bottom: within(face.bottom, top),
        };
        Some(Self {
            matrix: matrix::of(&cut),
            face,
            left,
            top,
            scale,
        })
    }

    /// From the close-up to the picture.
    pub(crate) fn to_picture(&self, point: &DlibPoint) -> Point {
        let back = |at: i64, from: f64| (at as f64 / self.scale + from).round() as i32;
        Point {
            x: back(point.x(), self.left),
            y: back(point.y(), self.top),
        }
    }
}

/// A face in pixels of the picture, before it is cut to its edges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FaceBox {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

// === impl FaceBox ===

impl FaceBox {
    /// From a rectangle of a copy that was scaled by `scale`.
    pub(crate) fn from_scaled(found: &Rectangle, scale: f64) -> Self {
        let back = |at: i64| at as f64 / scale;
        Self {
            left: back(found.left),
            top: back(found.top),
            right: back(found.right),
            bottom: back(found.bottom),
        }
    }

    pub(crate) fn width(&self) -> f64 {
        (self.right - self.left).max(1.0)
    }

    /// Cut to a picture's edges.
    pub(crate) fn within(&self, width: u32, height: u32) -> Bounds {
        let edge = |at: f64, side: u32| at.round().clamp(0.0, f64::from(side)) as u32;
        let (left, right) = (edge(self.left, width), edge(self.right, width));
        let (top, bottom) = (edge(self.top, height), edge(self.bottom, height));
        Bounds {
            left: left as i32,
            top: top as i32,
            width: right.saturating_sub(left),
            height: bottom.saturating_sub(top),
        }
    }
}
