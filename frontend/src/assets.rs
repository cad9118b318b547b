//! The files that the pages load: compiled in, served under a version, so that browsers may keep them.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Shown at the foot of every page.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

const STYLE: &str = include_str!("../assets/style.css");
const SCRIPT: &str = include_str!("../assets/live.js");
const LOGO: &str = include_str!("../assets/logo.svg");
/// Stands where a picture cannot be shown small.
pub(crate) const PLACEHOLDER: &str = include_str!("../assets/placeholder.svg");

/// Differs whenever a file does; in the query of every asset's URL.
pub(crate) const VERSION: u64 = fingerprint(&[STYLE, SCRIPT, LOGO]);

pub(crate) const SVG: &str = "image/svg+xml";

pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn logo() -> Response {
    asset(SVG, LOGO)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (StatusCode::OK, headers, text).into_response()
}

/// FNV-1a, which can be computed while compiling.
const fn fingerprint(texts: &[&str]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut text = 0;
    while text < texts.len() {
        let bytes = texts[text].as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        text += 1;
    }
    hash
}
