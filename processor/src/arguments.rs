//! The processor's flags and environment variables.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use safelight_mesh::{BuildError, MeshArgs, Methods, Probe, Settings as MeshSettings, Target};
use safelight_proto::FILE_DESCRIPTOR_SET;

use crate::recognition::RecognizerApi;
use crate::settings::Settings;

/// What the processor can be told.
#[derive(Args, Clone, Debug)]
pub struct ProcessorArgs {
    /// the recognizer, as HOST:PORT, dns:///HOST:PORT, static:///HOST:PORT,HOST:PORT or unix:/PATH
    /// [default: 127.0.0.1:50051]
    #[arg(long, env = "GRPC_ADDRESS")]
    pub grpc_address: Option<String>,
    /// the contract the recognizer speaks: safelight (faces and boxes) or facerecog (the best name only)
    #[arg(long, env = "RECOGNIZER_API", value_enum, default_value_t = RecognizerApi::Safelight)]
    pub recognizer_api: RecognizerApi,
    /// how many images are worked on at once, 1 to 256
    #[arg(long, env = "PROCESSOR_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,
    /// the transformer, as the recognizer's address; `none` leaves its work to other processors
    /// [default: 127.0.0.1:50052]
    #[arg(long, env = "TRANSFORMER_ADDRESS")]
    pub transformer_address: Option<String>,
    /// how many files are looked at, and how many pictures made small at once, 1 to 256
    #[arg(long, env = "PROCESSOR_TRANSFORMS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub transforms: u16,
    /// of how many films a frame, and of how many an animation is made at once, 1 to 256
    #[arg(long, env = "PROCESSOR_FILMS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub films: u16,
    /// seconds a claim holds without being renewed, 3 to 3600
    #[arg(long, env = "PROCESSOR_LEASE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=3600))]
    pub lease_seconds: u64,
    /// tries an image has before it is failed, 1 to 100; waiting for a service is not a try
    #[arg(long, env = "PROCESSOR_MAX_TRIES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_tries: u32,
}

/// Where the processor's own HTTP port listens.
#[derive(Args, Clone, Debug)]
pub struct OpsArgs {
    /// the address and port of /alive, /ready, /metrics and /mesh, such as 0.0.0.0:8001
    #[arg(long, env = "PROCESSOR_LISTEN", default_value = "127.0.0.1:8001")]
    pub listen: SocketAddr,
}

impl ProcessorArgs {
    /// The recognizer as a target of the mesh.
    ///
    /// What is refused by one replica is tried at another. What broke is not: the database tries it again and counts
    /// the workers that died of a picture; repeated at once, it would kill the next replica before anybody counted.
    ///
    /// # Errors
    /// An address or mesh settings that cannot be.
    pub fn recognizer(&self, mesh: &MeshArgs) -> Result<Target, BuildError> {
        let address = self.grpc_address.as_deref().unwrap_or("127.0.0.1:50051");
        let deadline = mesh.settings().deadline;
        target(mesh, "recognizer", address, deadline, self.recognizer_probe())
    }

    /// The transformer as a target of the mesh, as [`ProcessorArgs::recognizer`] is one; `None` where there is to be none.
    ///
    /// Its calls have at least [`FILM_DEADLINE`]: it gives up on a film before that by itself, and says why.
    ///
    /// # Errors
    /// An address or mesh settings that cannot be.
    pub fn transformer(&self, mesh: &MeshArgs) -> Result<Option<Target>, BuildError> {
        let address = self.transformer_address.as_deref().unwrap_or("127.0.0.1:50052");
        if address == "none" {
            return Ok(None);
        }
        let probe = Probe::GrpcHealth {
            service: "safelight.transformer.v1.Transformer".to_owned(),
        };
        let deadline = mesh.settings().deadline.max(FILM_DEADLINE);
        target(mesh, "transformer", address, deadline, probe).map(Some)
    }

    /// How to ask the recognizer whether it is well.
    fn recognizer_probe(&self) -> Probe {
        match self.recognizer_api {
            RecognizerApi::Facerecog => Probe::FaceRecog,
            RecognizerApi::Safelight => Probe::GrpcHealth {
                service: "safelight.recognizer.v1.Recognizer".to_owned(),
            },
        }
    }

    /// How to work.
    pub fn settings(&self) -> Settings {
        Settings {
            concurrency: usize::from(self.concurrency),
            transforms: usize::from(self.transforms),
            films: usize::from(self.films),
            lease: Duration::from_secs(self.lease_seconds),
            max_tries: self.max_tries,
            ..Settings::default()
        }
    }
}

/// How long a call of the transformer may take at least. Its own limit for a run of ffmpeg is a minute, and a film may
/// take two.
const FILM_DEADLINE: Duration = Duration::from_secs(180);

fn target(
    mesh: &MeshArgs,
    name: &str,
    address: &str,
    deadline: Duration,
    probe: Probe,
) -> Result<Target, BuildError> {
    let settings = MeshSettings {
        retry_broken: false,
        deadline,
        ..mesh.settings()
    };
    // `HOST:PORT` alone is a name to look up.
    let address = if address.contains(":/") {
        address.to_owned()
    } else {
        format!("dns:///{address}")
    };
    mesh.target(name, &address)?
        .settings(settings)
        .methods(Methods::default().descriptor_set(FILE_DESCRIPTOR_SET)?)
        .probe(probe)
        .connect()
}
