use dlib_face_recognition::{
    FaceDetector, FaceDetectorTrait, FaceEncoderNetwork, FaceEncoderTrait, FaceLandmarks, ImageMatrix,
    LandmarkPredictor, LandmarkPredictorTrait, Rectangle,
};
use fast_image_resize::Resizer;
use image::RgbImage;

use crate::analysis::{Face, Point};
use crate::close_up::{CloseUp, FaceBox};
use crate::descriptor::{DESCRIPTOR_LENGTH, Descriptor};
use crate::matrix;
use crate::models::Models;
use crate::stage;
use crate::working_size::{WorkingSize, resize, scaled};

/// Below this the picture has clearly more to show of a face than its working copy.
const CLOSE_UP_BELOW: f64 = 0.8;

/// One worker's detector and networks. dlib's are not safe to share, so every worker has its own.
pub(crate) struct Engine {
    detector: FaceDetector,
    landmarks: LandmarkPredictor,
    network: FaceEncoderNetwork,
    resizer: Resizer,
    working_size: WorkingSize,
    max_faces: usize,
}

/// The caller went away before the work was done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Abandoned;

// === impl Engine ===

impl Engine {
    /// Loads the models: about a fifth of a second.
    pub(crate) fn load(models: &Models, working_size: WorkingSize, max_faces: usize) -> Result<Self, String> {
        Ok(Self {
            detector: FaceDetector::new(),
            landmarks: LandmarkPredictor::open(&models.landmarks)?,
            network: FaceEncoderNetwork::open(&models.network)?,
            resizer: Resizer::new(),
            working_size,
            max_faces,
        })
    }

    /// The faces of a picture, from the largest to the smallest, at most as many as are allowed. `is_gone`
    /// is asked between the steps.
    pub(crate) fn faces(
        &mut self,
        picture: &RgbImage,
        is_gone: &dyn Fn() -> bool,
    ) -> Result<Vec<Face>, Abandoned> {
        let scale = self.working_size.scale(picture.width(), picture.height());
        let working = stage::timed("scale", || self.working_copy(picture, scale));
        let mut found = stage::timed("detect", || self.detector.face_locations(&working).to_vec());
        found.sort_by_key(|face| std::cmp::Reverse(face.width() * face.height()));
        if found.len() > self.max_faces {
            tracing::warn!(
                found = found.len(),
                kept = self.max_faces,
                "left the smallest faces out"
            );
            found.truncate(self.max_faces);
        }
        let mut faces = Vec::with_capacity(found.len());
        for rectangle in &found {
            if is_gone() {
                return Err(Abandoned);
            }
            let described = stage::timed("describe", || self.describe(picture, &working, rectangle, scale));
            faces.extend(described);
        }
        Ok(faces)
    }

    fn working_copy(&mut self, picture: &RgbImage, scale: f64) -> ImageMatrix {
        if scale == 1.0 {
            return matrix::of(picture);
        }
        let (width, height) = picture.dimensions();
        let whole = (0, 0, width, height);
        let copy = resize(
            &mut self.resizer,
            picture,
            whole,
            scaled(width, scale),
            scaled(height, scale),
        );
        matrix::of(&copy)
    }

    fn describe(
        &mut self,
        picture: &RgbImage,
        working: &ImageMatrix,
        found: &Rectangle,
        scale: f64,
    ) -> Option<Face> {
        let face_box = FaceBox::from_scaled(found, scale);
        let bounds = face_box.within(picture.width(), picture.height());
        if scale < CLOSE_UP_BELOW {
            let close_up = CloseUp::new(&mut self.resizer, picture, &face_box)?;
            let (landmarks, descriptor) = self.encode(&close_up.matrix, &close_up.face)?;
            let landmarks = landmarks.iter().map(|point| close_up.to_picture(point)).collect();
            return Some(Face {
                bounds,
                landmarks,
                descriptor,
            });
        }
        let (landmarks, descriptor) = self.encode(working, found)?;
        let back = |at: i64| (at as f64 / scale).round() as i32;
        let landmarks = landmarks.iter().map(|point| Point {
            x: back(point.x()),
            y: back(point.y()),
        });
        Some(Face {
            bounds,
            landmarks: landmarks.collect(),
            descriptor,
        })
    }

    fn encode(&self, matrix: &ImageMatrix, face: &Rectangle) -> Option<(FaceLandmarks, Descriptor)> {
        let landmarks = self.landmarks.face_landmarks(matrix, face);
        let encodings = self
            .network
            .get_face_encodings(matrix, std::slice::from_ref(&landmarks), 0);
        let numbers = encodings.first()?.as_ref();
        let mut descriptor = [0.0; DESCRIPTOR_LENGTH];
        if numbers.len() != DESCRIPTOR_LENGTH {
            return None;
        }
        for (to, from) in descriptor.iter_mut().zip(numbers) {
            // The network computes in f32; dlib's wrapper widened it.
            *to = *from as f32;
        }
        Descriptor::from_slice(&descriptor).map(|descriptor| (landmarks, descriptor))
    }
}
