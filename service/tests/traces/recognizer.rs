//! A recognizer behind the mesh's server, and a target that calls it through the mesh's client.

use std::net::SocketAddr;

use safelight_mesh::server::Server;
use safelight_mesh::{MeshChannel, Methods, Probe, Target, trace};
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

/// Knows everybody but `nobody`, and breaks over `broken`.
struct Recognizer;

#[tonic::async_trait]
impl Identify for Recognizer {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let decoding = trace::span("decode", []);
        let image_name = decoding.within(async { request.into_inner().image_path }).await;
        match image_name.as_str() {
            "nobody" => Err(Status::not_found("as told")),
            "broken" => Err(Status::data_loss("as told")),
            _ => Ok(Response::new(IdentifyResponse { image_name })),
        }
    }
}

pub(crate) async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder("recognizer")
        .reflection(&[FILE_DESCRIPTOR_SET])
        .add_service(IdentifyServer::new(Recognizer))
        .build()
        .unwrap();
    tokio::spawn(server.serve(listener, std::future::pending()));
    address
}

pub(crate) fn target(address: SocketAddr) -> Target {
    Target::builder("recognizer", format!("static:///{address}"))
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .methods(Methods::default().descriptor_set(FILE_DESCRIPTOR_SET).unwrap())
        .connect()
        .unwrap()
}

pub(crate) async fn identify(channel: MeshChannel, image_path: &str) -> Result<String, Status> {
    let request = IdentifyRequest {
        image_path: image_path.to_owned(),
    };
    let response = IdentifyClient::new(channel).identify(request).await?;
    Ok(response.into_inner().image_name)
}
