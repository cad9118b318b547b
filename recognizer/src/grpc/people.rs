use safelight_proto::recognizer::v1 as proto;
use tonic::{Request, Response, Status};

use crate::analysis::{Bounds, Face};
use crate::gallery::Match;
use crate::models::{MODEL_NAME, MODEL_VERSION};
use crate::recognizer::{Known, Recognizer};

/// The contract `safelight.recognizer.v1.Recognizer`.
pub(crate) struct PeopleAndFaces {
    recognizer: Recognizer,
}

// === impl PeopleAndFaces ===

impl PeopleAndFaces {
    pub(crate) fn new(recognizer: Recognizer) -> Self {
        Self { recognizer }
    }
}

#[tonic::async_trait]
impl proto::recognizer_server::Recognizer for PeopleAndFaces {
    async fn recognize(
        &self,
        request: Request<proto::RecognizeRequest>,
    ) -> Result<Response<proto::RecognizeResponse>, Status> {
        let analysis = self.recognizer.analyze(&request.get_ref().image_uri).await?;
        let matches = self.recognizer.matches(&analysis);
        let faces = analysis
            .faces
            .iter()
            .zip(matches)
            .map(|(face, nearest)| face_message(face, nearest));
        Ok(Response::new(proto::RecognizeResponse {
            faces: faces.collect(),
            model_name: MODEL_NAME.to_owned(),
            model_version: MODEL_VERSION.to_owned(),
            width: analysis.width,
            height: analysis.height,
        }))
    }

    async fn enroll_person(
        &self,
        request: Request<proto::EnrollPersonRequest>,
    ) -> Result<Response<proto::EnrollPersonResponse>, Status> {
        let request = request.into_inner();
        let enrolled = self
            .recognizer
            .enroll(&request.person_name, &request.image_uri)
            .await?;
        Ok(Response::new(proto::EnrollPersonResponse {
            person: Some(person_message(enrolled.person)),
            r#box: Some(box_message(enrolled.bounds)),
        }))
    }

    async fn list_people(
        &self,
        _request: Request<proto::ListPeopleRequest>,
    ) -> Result<Response<proto::ListPeopleResponse>, Status> {
        let people = self.recognizer.people().into_iter().map(person_message).collect();
        Ok(Response::new(proto::ListPeopleResponse { people }))
    }

    async fn forget_person(
        &self,
        request: Request<proto::ForgetPersonRequest>,
    ) -> Result<Response<proto::ForgetPersonResponse>, Status> {
        let forgotten = self.recognizer.forget(&request.get_ref().person_name).await?;
        Ok(Response::new(proto::ForgetPersonResponse { forgotten }))
    }
}

fn face_message(face: &Face, nearest: Option<Match>) -> proto::Face {
    let landmarks = face.landmarks.iter().map(|point| proto::Point {
        x: point.x,
        y: point.y,
    });
    proto::Face {
        r#box: Some(box_message(face.bounds)),
        landmarks: landmarks.collect(),
        descriptor: face.descriptor.0.to_vec(),
        r#match: nearest.map(|nearest| proto::Match {
            person_name: nearest.person.to_string(),
            image_name: nearest.image_name.to_string(),
            distance: nearest.distance,
        }),
    }
}

fn box_message(bounds: Bounds) -> proto::Box {
    let Bounds {
        left,
        top,
        width,
        height,
    } = bounds;
    proto::Box {
        left,
        top,
        width,
        height,
    }
}

fn person_message(known: Known) -> proto::Person {
    proto::Person {
        name: known.name,
        image_names: known.image_names,
    }
}
