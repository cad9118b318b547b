//! What the pages have in common.

use askama::Template;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::error_page::PageError;
use crate::filter::person_link;

/// A media URI, split for reading: the name stands out, the folder does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownPath {
    pub(crate) folder: String,
    pub(crate) name: String,
}

impl ShownPath {
    /// `called`: what the user called the file, where that is known.
    pub(crate) fn new(path: &str, called: Option<&str>) -> Self {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Self {
            folder: format!("{folder}/"),
            name: called.unwrap_or(name).to_owned(),
        }
    }
}

/// A person's name that leads to their images.
#[derive(Clone, Debug)]
pub(crate) struct PersonLink {
    pub(crate) name: String,
    pub(crate) link: String,
}

impl From<String> for PersonLink {
    fn from(name: String) -> Self {
        Self {
            link: person_link(&name),
            name,
        }
    }
}

/// A page that must not be kept, as it shows what changes.
pub(crate) fn html(status: StatusCode, template: &impl Template) -> Result<Response, PageError> {
    let text = template.render().map_err(|error| {
        tracing::error!(%error, "a template failed");
        PageError::Internal
    })?;
    Ok((status, [(header::CACHE_CONTROL, "private, no-cache")], Html(text)).into_response())
}

/// Everything from this host, and no more than is used: no frames, no plug-ins, no inline scripts or styles.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Puts the headers that keep a page to itself on every answer that has not set its own.
pub(crate) async fn secure(mut response: Response) -> Response {
    let headers: [(HeaderName, &'static str); 5] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The addresses of pages hold names of people.
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in headers {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_its_folder_and_its_name() {
        let shown = |path| {
            let ShownPath { folder, name } = ShownPath::new(path, None);
            (folder, name)
        };
        assert_eq!(shown("/a/b/c.jpg"), ("/a/b/".to_owned(), "c.jpg".to_owned()));
        assert_eq!(
            shown("nfs://x/c.jpg"),
            ("nfs://x/".to_owned(), "c.jpg".to_owned())
        );
        assert_eq!(shown("/c.jpg"), ("/".to_owned(), "c.jpg".to_owned()));
        let uploaded = ShownPath::new("/store/input/7/cat.png", Some("my cat.png"));
        assert_eq!(uploaded.name, "my cat.png");
    }
}
