//! A server goes away and comes back; see what its caller sees.
//!
//! ```text
//! cargo run -p safelight-mesh --example health_probe
//! ```
//!
//! The health service of the server is at once what is called and what the probe asks.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use safelight_mesh::{Probe, Settings, Target, failure_of};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let settings = Settings {
        probe_interval: Duration::from_millis(500),
        ..Settings::default()
    };
    let target = Target::builder("example", format!("http://{address}"))
        .settings(settings)
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .connect()?;

    let mut availability = target.availability();
    tokio::spawn(async move {
        loop {
            let now = availability.borrow_and_update().clone();
            println!(
                "{:6.2} s  {:?}: {}",
                start.elapsed().as_secs_f64(),
                now.state,
                now.reason
            );
            if availability.changed().await.is_err() {
                return;
            }
        }
    });

    let mut server = None;
    let mut clock = tokio::time::interval(Duration::from_millis(250));
    for tick in 0..40 {
        clock.tick().await;
        match tick {
            4 => server = Some(serve(address).await?),
            12 => kill(server.take()),
            28 => server = Some(serve(address).await?),
            _ => {}
        }
        let answer = HealthClient::new(target.channel())
            .check(HealthCheckRequest::default())
            .await;
        let seconds = start.elapsed().as_secs_f64();
        match answer {
            Ok(_) => println!("{seconds:6.2} s  answered"),
            Err(status) => println!("{seconds:6.2} s  {:?}: {}", failure_of(&status), status.message()),
        }
    }
    kill(server);
    println!("{:#?}", target.snapshot());
    Ok(())
}

/// On a runtime of its own, so that it goes down with all its connections in one stroke.
async fn serve(address: SocketAddr) -> Result<Runtime, Box<dyn Error>> {
    println!("          the server comes up");
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (bound, is_bound) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        let listener = bind(address);
        let failed = listener.as_ref().err().map(ToString::to_string);
        let _ = bound.send(failed);
        if let Ok(listener) = listener {
            let (_reporter, health) = tonic_health::server::health_reporter();
            let incoming = TcpListenerStream::new(listener);
            let _ = tonic::transport::Server::builder()
                .add_service(health)
                .serve_with_incoming(incoming)
                .await;
        }
    });
    match is_bound.await? {
        None => Ok(runtime),
        Some(error) => Err(error.into()),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

fn kill(server: Option<Runtime>) {
    if let Some(server) = server {
        println!("          the server goes down");
        server.shutdown_background();
    }
}
