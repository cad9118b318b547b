//! Pictures to work on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use image::RgbImage;

/// The folder of the sample photographs, or `None` after saying loudly that it is not there.
///
/// # Panics
/// With `CI=true`, where everything has to be there.
pub fn samples() -> Option<PathBuf> {
    let folder = tools().join("samples");
    let there = folder.join("obama.jpg").exists()
        && models()
            .join("dlib_face_recognition_resnet_model_v1.dat")
            .exists();
    if !there {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "no models and samples; run scripts/fetch-models.sh"
        );
        // Past the test harness, which keeps what passing tests print to itself; `make test` counts these lines.
        let loud = "SKIPPED: no models and sample photographs; run scripts/fetch-models.sh";
        let _ = writeln!(std::io::stderr(), "{loud}");
    }
    there.then_some(folder)
}

/// The folder of the face models.
pub fn models() -> PathBuf {
    tools().join("models")
}

/// The folder of the sample films, or `None` after saying loudly that it is not there.
///
/// # Panics
/// With `CI=true`, where everything has to be there.
pub fn films() -> Option<PathBuf> {
    let folder = tools().join("films");
    let there = folder.join("bikes.mp4").exists();
    if !there {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "no sample films; run scripts/fetch-models.sh"
        );
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no sample films; run scripts/fetch-models.sh"
        );
    }
    there.then_some(folder)
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

/// Writes `count` small pictures of the same person into `folder`, each a file of its own. Scaled down, so
/// that many of them take a bearable time.
pub fn copies_of(photograph: &Path, folder: &Path, count: usize) -> Vec<String> {
    let picture = image::open(photograph).expect("the sample can be read");
    let small = picture.resize(320, 320, image::imageops::FilterType::Triangle);
    let first = folder.join("copy_0.jpg");
    small.to_rgb8().save(&first).expect("the folder can be written");
    let paths = (0..count).map(|index| folder.join(format!("copy_{index}.jpg")));
    paths
        .inspect(|path| {
            if *path != first {
                fs::copy(&first, path).expect("a copy");
            }
        })
        .map(text)
        .collect()
}

/// Writes `count` tiny pictures with nobody in them.
pub fn empty_pictures(folder: &Path, count: usize) -> Vec<String> {
    let first = folder.join("empty_0.png");
    RgbImage::from_fn(48, 48, |x, y| image::Rgb([x as u8 * 5, y as u8 * 5, 90]))
        .save(&first)
        .expect("a picture");
    let paths = (0..count).map(|index| folder.join(format!("empty_{index}.png")));
    paths
        .inspect(|path| {
            if *path != first {
                fs::copy(&first, path).expect("a copy");
            }
        })
        .map(text)
        .collect()
}

fn text(path: PathBuf) -> String {
    path.into_os_string()
        .into_string()
        .expect("our own names are text")
}
