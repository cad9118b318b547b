//! The whole way: a target's channel to our server, over mutual TLS.

use std::time::Duration;

use safelight_mesh::server::Server;
use safelight_mesh::tls::{ClientTls, PeerInfo, ServerTls};
use safelight_mesh::{CallFailure, Settings, Target, failure_of};
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use crate::authority::{Authority, CLIENT, CLIENT_ID, Directory, SERVER, SERVER_ID};

/// Answers with who asks.
struct Host;

#[tonic::async_trait]
impl Identify for Host {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let peer = request.extensions().get::<PeerInfo>();
        let peer = peer.ok_or_else(|| Status::internal("nobody says who asks"))?;
        let names = [&peer.names[..], peer.spiffe_id.as_slice()].concat();
        let image_name = names.join(" ");
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}

/// A server; it stops when the sender is dropped.
async fn serve(tls: ServerTls) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder("recognizer")
        .secure(tls)
        .add_service(IdentifyServer::new(Host))
        .build()
        .unwrap();
    tokio::spawn(server.serve(listener, async move { drop(stopped.await) }));
    (address, stop)
}

fn target(address: &str, tls: Option<ClientTls>) -> Target {
    let settings = Settings {
        probe_interval: Duration::from_millis(20),
        deadline: Duration::from_secs(10),
        ..Settings::default()
    };
    let builder = Target::builder("recognizer", address).settings(settings);
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    builder.connect().unwrap()
}

async fn ask(target: &Target) -> Result<String, Status> {
    let request = IdentifyRequest {
        image_path: "who".to_owned(),
    };
    let answer = IdentifyClient::new(target.channel()).identify(request).await?;
    Ok(answer.into_inner().image_name)
}

/// What a call is told that could not be made.
async fn refused(target: &Target) -> String {
    let status = ask(target).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::NotSent, "{status}");
    assert!(!target.availability().borrow().is_available());
    status.message().to_owned()
}

#[tokio::test]
async fn the_right_peers_call_each_other_and_a_handler_knows_who_asks() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER, SERVER_ID]));
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT, CLIENT_ID]));
    let (address, _stop) = serve(server.server(&[CLIENT_ID])).await;
    for peer in [SERVER, SERVER_ID] {
        let target = target(&address, Some(client.client(peer)));
        assert_eq!(ask(&target).await.unwrap(), format!("{CLIENT} {CLIENT_ID}"));
    }
}

#[tokio::test]
async fn without_a_certificate_no_call_is_made() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&[SERVER]));
    let (address, _stop) = serve(server.server(&[])).await;
    refused(&target(&address, None)).await;
}

#[tokio::test]
async fn to_and_from_another_authority_no_call_is_made() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Directory::with(&ours, &ours.leaf(&[SERVER]));
    let (address, _stop) = serve(server.server(&[])).await;
    // It trusts the server, and is not trusted.
    let stranger = Directory::with(&ours, &theirs.leaf(&[CLIENT]));
    let told = refused(&target(&address, Some(stranger.client(SERVER)))).await;
    assert!(told.contains("refused our certificate"), "{told}");
    // It is trusted, and does not trust the server.
    let wary = Directory::with(&theirs, &ours.leaf(&[CLIENT]));
    let told = refused(&target(&address, Some(wary.client(SERVER)))).await;
    assert!(told.contains("not issued by our CA"), "{told}");
}

#[tokio::test]
async fn to_a_server_of_another_name_no_call_is_made() {
    let authority = Authority::new();
    let server = Directory::with(&authority, &authority.leaf(&["somebody.test"]));
    let (address, _stop) = serve(server.server(&[])).await;
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT]));
    let told = refused(&target(&address, Some(client.client(SERVER)))).await;
    assert!(told.contains(SERVER) && told.contains("somebody.test"), "{told}");
}

#[tokio::test]
async fn a_certificate_that_was_rotated_is_shown_by_the_next_connection_and_calls_go_on() {
    let authority = Authority::new();
    let files = Directory::with(&authority, &authority.leaf(&["old.test"]));
    let server = files.server(&[]);
    let (address, stop) = serve(server.clone()).await;
    let client = Directory::with(&authority, &authority.leaf(&[CLIENT]));
    let old = target(&address, Some(client.client("old.test")));
    let new = target(&address, Some(client.client("new.test")));
    assert_eq!(ask(&old).await.unwrap(), CLIENT);
    refused(&new).await;

    files.write_leaf(&authority.leaf(&["new.test"]));
    // The files are looked at by the clock; the target connects again and again meanwhile.
    let mut availability = new.availability();
    let available = availability.wait_for(|now| now.is_available());
    tokio::time::timeout(Duration::from_secs(30), available)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ask(&new).await.unwrap(), CLIENT);
    // The connection that was made before is as good as it was.
    assert_eq!(ask(&old).await.unwrap(), CLIENT);
    drop(stop);
}
