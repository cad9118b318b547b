//! Asking the recognizer, by either contract.

use clap::ValueEnum;
use safelight_database::{Database, NewFace, NewMatch, Recognition};
use safelight_mesh::MeshChannel;
use safelight_proto::facerecog::IdentifyRequest;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::recognizer::v1::recognizer_client::RecognizerClient as SafelightClient;
use safelight_proto::recognizer::v1::{Face, RecognizeRequest, RecognizeResponse};
use tonic::Status;

/// What a back end that speaks the older contract answers where it knows nobody.
const NOT_FOUND: &str = "not_found";

/// The contract that the recognizer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecognizerApi {
    /// `facerecog.Identify`: the file name of the best known picture, as back ends in other languages have it.
    Facerecog,
    /// `safelight.recognizer.v1`: every face with its box, distance and person.
    Safelight,
}

/// A recognizer behind the mesh. Cheap to clone.
#[derive(Clone, Debug)]
pub enum RecognizerClient {
    /// By the older contract. It names sample pictures, and the database knows whose they are.
    Facerecog(IdentifyClient<MeshChannel>, Database),
    /// By our own.
    Safelight(SafelightClient<MeshChannel>),
}

impl RecognizerClient {
    /// A client of `channel` that speaks `api`.
    pub fn new(api: RecognizerApi, channel: MeshChannel, database: Database) -> Self {
        match api {
            RecognizerApi::Facerecog => Self::Facerecog(IdentifyClient::new(channel), database),
            RecognizerApi::Safelight => Self::Safelight(SafelightClient::new(channel)),
        }
    }

    /// Who is in the picture at `path`.
    ///
    /// # Errors
    /// The status of the call; [`judge`](crate::verdict::judge) says what it means. Cancel safe: a call that
    /// is dropped is cancelled at the recognizer.
    pub async fn recognize(&self, path: &str) -> Result<Recognition, Status> {
        match self {
            Self::Facerecog(client, database) => {
                let request = IdentifyRequest {
                    image_path: path.to_owned(),
                };
                let name = client.clone().identify(request).await?.into_inner().image_name;
                identified(database, name).await
            }
            Self::Safelight(client) => {
                let request = RecognizeRequest {
                    image_uri: path.to_owned(),
                };
                Ok(recognized(client.clone().recognize(request).await?.into_inner()))
            }
        }
    }
}

/// One face without a box: the older contract says no more.
async fn identified(database: &Database, image_name: String) -> Result<Recognition, Status> {
    let mut faces = Vec::new();
    if !image_name.is_empty() && image_name != NOT_FOUND {
        let known = database.people().of_sample(&image_name).await;
        let known =
            known.map_err(|error| Status::aborted(format!("cannot look up {image_name}: {error}")))?;
        let person = known.unwrap_or_else(|| person_of_file(&image_name).to_owned());
        faces.push(NewFace {
            left: 0,
            top: 0,
            width: 0,
            height: 0,
            landmarks: Vec::new(),
            descriptor: Vec::new(),
            person: Some(NewMatch {
                person,
                sample: image_name,
                distance: None,
            }),
        });
    }
    let model = "facerecog".to_owned();
    Ok(Recognition {
        width: 0,
        height: 0,
        model,
        model_version: String::new(),
        faces,
    })
}

/// `hannibal_1.jpg` is a picture of `hannibal`; so is `hannibal.jpg`.
fn person_of_file(image_name: &str) -> &str {
    let stem = image_name.rsplit_once('.').map_or(image_name, |(stem, _)| stem);
    match stem.rsplit_once('_') {
        Some((name, number)) if !name.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => stem,
    }
}

fn recognized(response: RecognizeResponse) -> Recognition {
    Recognition {
        width: response.width,
        height: response.height,
        model: response.model_name,
        model_version: response.model_version,
        faces: response.faces.into_iter().map(face).collect(),
    }
}

fn face(face: Face) -> NewFace {
    let area = face.r#box.unwrap_or_default();
    NewFace {
        left: area.left,
        top: area.top,
        width: area.width,
        height: area.height,
        landmarks: face.landmarks.iter().map(|point| (point.x, point.y)).collect(),
        descriptor: face.descriptor,
        person: face.r#match.map(|found| NewMatch {
            person: found.person_name,
            sample: found.image_name,
            distance: Some(found.distance),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::person_of_file;

    #[test]
    fn a_sample_is_named_after_its_person() {
        assert_eq!(person_of_file("hannibal_1.jpg"), "hannibal");
        assert_eq!(person_of_file("hannibal.jpg"), "hannibal");
        assert_eq!(person_of_file("mary_ann_12.jpeg"), "mary_ann");
        assert_eq!(person_of_file("mary_ann.png"), "mary_ann");
        assert_eq!(person_of_file("_1.jpg"), "_1");
    }
}
