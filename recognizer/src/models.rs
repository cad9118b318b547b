use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What made the descriptors. Descriptors of different models, or versions, are not comparable.
pub const MODEL_NAME: &str = "dlib-resnet";

/// The version of [`MODEL_NAME`]: of the weights and of how faces are aligned for them.
pub const MODEL_VERSION: &str = "1";

const LANDMARKS: ModelFile = ModelFile {
    name: "shape_predictor_5_face_landmarks.dat",
    blake3: "bf64a2edb72085f3d370f119e5dbfd9a34c859183ee2a9d0a01f82acf32bb3ae",
};

const NETWORK: ModelFile = ModelFile {
    name: "dlib_face_recognition_resnet_model_v1.dat",
    blake3: "f3a1c4b40afba648dcf7586afdef8843da07a039692f12267e0c9ff2fd0f9424",
};

struct ModelFile {
    name: &'static str,
    blake3: &'static str,
}

/// The model files, found and checked.
#[derive(Clone, Debug)]
pub(crate) struct Models {
    pub(crate) landmarks: PathBuf,
    pub(crate) network: PathBuf,
}

/// Why there are no models.
#[derive(Debug, Error)]
pub enum ModelsError {
    /// No file of this name in the folder.
    #[error("MODELS_DIR: {folder:?} has no readable {file} ({source}); scripts/fetch-models.sh fetches it")]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file is cut off, or another one.
    #[error(
        "MODELS_DIR: {path:?} is not the file that it should be; scripts/fetch-models.sh fetches it again"
    )]
    Wrong {
        /// The file.
        path: PathBuf,
    },
}

// === impl Models ===

impl Models {
    /// Finds the files in a folder and checks that they are the known ones: dlib does not survive every
    /// damaged file, and a descriptor's version means these weights and no others.
    pub(crate) fn find(folder: &Path) -> Result<Self, ModelsError> {
        Ok(Self {
            landmarks: LANDMARKS.find(folder)?,
            network: NETWORK.find(folder)?,
        })
    }
}

// === impl ModelFile ===

impl ModelFile {
    fn find(&self, folder: &Path) -> Result<PathBuf, ModelsError> {
        let path = folder.join(self.name);
        let mut hasher = blake3::Hasher::new();
        let read = std::fs::File::open(&path).and_then(|file| hasher.update_reader(file).map(|_| ()));
        if let Err(source) = read {
            return Err(ModelsError::Missing {
                folder: folder.to_owned(),
                file: self.name,
                source,
            });
        }
        if hasher.finalize().to_hex().as_str() != self.blake3 {
            return Err(ModelsError::Wrong { path });
        }
        Ok(path)
    }
}
