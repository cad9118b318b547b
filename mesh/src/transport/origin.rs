//! What calls to a target are addressed to, whichever endpoint they go to.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

/// The scheme and the authority of a target's calls.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

// === impl Origin ===

impl Origin {
    /// Generated clients know paths only; HTTP/2 wants the scheme and the authority, too.
    pub(crate) fn direct<B>(&self, request: &mut Request<B>) {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        // With all three parts there it is a URI.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
    }
}
