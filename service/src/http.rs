//! Serving HTTP until told to stop.

use std::io;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;

use crate::Shutdown;

/// How long requests that run when the shutdown comes may take to finish.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves `router` until `shutdown`, then takes no new connections and lets what runs finish, for at most
/// 15 seconds.
///
/// # Errors
/// As [`axum::serve`]; late requests that had to be cut off are logged and are no error.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> io::Result<()> {
    let stopping = shutdown.clone();
    let server =
        axum::serve(listener, router).with_graceful_shutdown(async move { stopping.triggered().await });
    let late = async {
        shutdown.triggered().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = late => {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests still running were cut off");
            Ok(())
        }
    }
}
