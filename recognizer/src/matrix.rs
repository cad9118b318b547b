use dlib_face_recognition::ImageMatrix;
use image::RgbImage;

/// Copies a picture into dlib's own form.
#[allow(unsafe_code)]
pub(crate) fn of(image: &RgbImage) -> ImageMatrix {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let samples = image.as_raw().as_slice();
    assert!(
        samples.len() >= width * height * 3,
        "an image holds three samples a pixel"
    );
    // SAFETY: `new` reads `width * height * 3` bytes from the pointer, which the line above found to be
    // there, and keeps none of it.
    unsafe { ImageMatrix::new(width, height, samples.as_ptr()) }
}
