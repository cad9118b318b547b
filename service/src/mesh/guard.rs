//! Whom changes are not taken from.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Problem;

/// Refuses what a page of another site lets a browser send. There is no password that a page would lack: an operator
/// who reads a hostile page while the port is within reach would give its orders.
pub(super) async fn not_from_other_sites(request: Request, next: Next) -> Response {
    if is_from_another_site(request.headers()) {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "mesh-other-site",
            "not from another site",
            "a page of another site cannot change the mesh; use a tool that sends no Origin, such as curl",
        )
        .into_response();
    }
    next.run(request).await
}

/// Browsers send `Origin` with whatever may change something; tools do not.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin_host = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .map(|(_, host)| host);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    origin_host.is_none() || origin_host != host
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn refused(origin: Option<&str>, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_from_another_site(&headers)
    }

    #[test]
    fn a_tool_and_a_page_of_our_own_are_taken_and_other_pages_are_not() {
        assert!(!refused(None, "127.0.0.1:8001"));
        assert!(!refused(Some("http://127.0.0.1:8001"), "127.0.0.1:8001"));
        for origin in [
            "https://evil.example",
            "http://127.0.0.1:8002",
            "http://127.0.0.1",
            "null",
        ] {
            assert!(refused(Some(origin), "127.0.0.1:8001"), "{origin}");
        }
    }
}
