//! Reading answers.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

use super::HttpError;

/// Reads JSON, that of servers of before 1.0 included, which wrapped it in `{"data": …}`.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    let malformed = |_| HttpError::Malformed;
    let mut answer: Value = serde_json::from_slice(body).map_err(malformed)?;
    if answer.get("status_code").is_some()
        && let Some(data) = answer.get_mut("data")
    {
        answer = data.take();
    }
    serde_json::from_value(answer).map_err(malformed)
}

/// Go writes an empty list as `null`.
pub(super) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(input: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// `host:port`; an IPv6 address needs brackets before a port.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
