//! Asking the transformer.

use safelight_database::{Claim, NewOutput, Prepared, TaskKind};
use safelight_mesh::MeshChannel;
use safelight_proto::transformer::v1 as proto;
use safelight_proto::transformer::v1::transformer_client::TransformerClient as Client;
use serde::Deserialize;
use tonic::Status;

/// The thumbnails of a picture: what each is called, what its name ends with, its width in pixels.
const THUMBNAILS: [(&str, &str, u32); 3] = [
    ("thumbnail-small", "_t", 120),
    ("thumbnail-medium", "_m", 320),
    ("thumbnail-large", "_l", 1024),
];

/// A transformer behind the mesh. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct TransformerClient {
    client: Client<MeshChannel>,
}

/// What was asked for beyond the kind of work.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wishes {
    /// The time of the frame to capture, in milliseconds from the beginning.
    at_ms: Option<u64>,
}

// === impl TransformerClient ===

impl TransformerClient {
    pub(crate) fn new(channel: MeshChannel) -> Self {
        Self {
            client: Client::new(channel),
        }
    }

    /// Finds out what a file is by its content, and with that, what is to be done about it.
    pub(crate) async fn prepare(&self, claim: &Claim) -> Result<Prepared, Status> {
        let request = proto::ProbeRequest {
            uri: claim.path.clone(),
        };
        let probe = self.client.clone().probe(request).await?.into_inner();
        Ok(Prepared {
            tasks: tasks_for(&probe.content_type)?,
            content_type: probe.content_type,
            bytes: probe.bytes,
            width: probe.width,
            height: probe.height,
        })
    }

    pub(crate) async fn thumbnails(&self, claim: &Claim) -> Result<Vec<NewOutput>, Status> {
        let request = proto::ThumbnailsRequest {
            uri: claim.path.clone(),
            output: output_name(claim),
            sizes: THUMBNAILS
                .iter()
                .map(|&(role, suffix, width)| proto::Size {
                    role: role.to_owned(),
                    suffix: suffix.to_owned(),
                    width,
                })
                .collect(),
        };
        let made = self.client.clone().thumbnails(request).await?.into_inner();
        made.outputs.into_iter().map(output).collect()
    }

    pub(crate) async fn frame(&self, claim: &Claim) -> Result<Vec<NewOutput>, Status> {
        let request = proto::CaptureFrameRequest {
            uri: claim.path.clone(),
            output: output_name(claim),
            at_ms: wishes(claim).at_ms,
        };
        let made = self.client.clone().capture_frame(request).await?.into_inner();
        made.output.into_iter().map(output).collect()
    }

    pub(crate) async fn gif(&self, claim: &Claim) -> Result<Vec<NewOutput>, Status> {
        let request = proto::AnimatedGifRequest {
            uri: claim.path.clone(),
            output: output_name(claim),
            width: None,
            max_ms: None,
            fps: None,
        };
        let made = self.client.clone().animated_gif(request).await?.into_inner();
        made.output.into_iter().map(output).collect()
    }
}

/// A picture becomes faces and thumbnails, a film a frame and an animation.
fn tasks_for(content_type: &str) -> Result<Vec<TaskKind>, Status> {
    match content_type.split_once('/') {
        Some(("image", _)) => Ok(vec![TaskKind::Identify, TaskKind::Thumbnail]),
        Some(("video", _)) => Ok(vec![TaskKind::Frame, TaskKind::Gif]),
        // A newer transformer's.
        _ => Err(Status::invalid_argument(format!(
            "it is {content_type}, which nothing is made of"
        ))),
    }
}

fn output(output: proto::Output) -> Result<NewOutput, Status> {
    let blake3 = output.blake3.try_into();
    Ok(NewOutput {
        blake3: blake3.map_err(|_| Status::internal("the hash of an output has not 32 bytes"))?,
        role: output.role,
        uri: output.uri,
        content_type: output.content_type,
        width: output.width,
        height: output.height,
        bytes: output.bytes,
    })
}

fn wishes(claim: &Claim) -> Wishes {
    let params = claim.params.as_deref().unwrap_or("{}");
    serde_json::from_str(params).unwrap_or_else(|error| {
        tracing::warn!(image = claim.image_id, %error, "what was asked for cannot be read");
        Wishes::default()
    })
}

/// What the outputs' keys begin with: one folder an image, and in it the name that the user knows.
fn output_name(claim: &Claim) -> String {
    let name = claim.name.as_deref().unwrap_or(&claim.path);
    format!("output/{}/{}", claim.image_id, stem(name))
}

/// A file's name without its folders and its ending, in letters that are the same everywhere; never empty.
fn stem(name: &str) -> String {
    const LONGEST: usize = 64;
    let file = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = match file.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => file,
    };
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() || letter == '-' {
            letter
        } else {
            '_'
        }
    };
    let stem: String = stem.chars().take(LONGEST).map(plain).collect();
    if stem.is_empty() { "file".to_owned() } else { stem }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn outputs_are_named_after_what_the_user_called_the_file() {
        for (name, expected) in [
            ("cat.png", "cat"),
            ("/photos/2024/IMG_0001.JPG", "IMG_0001"),
            ("nfs://archive/a b.tiff", "a_b"),
            ("../../etc/passwd", "passwd"),
            ("C:\\films\\clip.mp4", "clip"),
            (".hidden", "_hidden"),
            ("archive.tar.gz", "archive_tar"),
            ("Größe.png", "Gr__e"),
            ("a\0b.png", "a_b"),
            ("", "file"),
            ("/", "file"),
        ] {
            assert_eq!(stem(name), expected, "{name:?}");
        }
        assert_eq!(stem(&"x".repeat(4096)).len(), 64);
    }

    #[test]
    fn a_picture_and_a_film_go_separate_ways() {
        let picture = tasks_for("image/tiff").unwrap();
        assert_eq!(picture, [TaskKind::Identify, TaskKind::Thumbnail]);
        assert_eq!(tasks_for("video/webm").unwrap(), [TaskKind::Frame, TaskKind::Gif]);
        assert!(tasks_for("text/csv").is_err());
    }
}
