//! The typed details of our own refusals: `google.rpc.ErrorInfo` and `google.rpc.RetryInfo`, as every gRPC library
//! reads them (<https://google.aip.dev/193>).

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;

use crate::error::CallError;

/// Who gives the reasons in `ErrorInfo`.
const DOMAIN: &str = "safelight-mesh";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// The content of `grpc-status-details-bin`.
pub(crate) fn encode(error: &CallError, endpoint: Option<&str>, tries: u32, message: &str) -> Vec<u8> {
    let mut metadata = HashMap::from([("target".to_owned(), error.target().to_owned())]);
    if let Some(endpoint) = endpoint {
        metadata.insert("endpoint".to_owned(), endpoint.to_owned());
    }
    if tries > 0 {
        metadata.insert("tries".to_owned(), tries.to_string());
    }
    let info = ErrorInfo {
        reason: error.reason().to_owned(),
        domain: DOMAIN.to_owned(),
        metadata,
    };
    let mut details = vec![any("google.rpc.ErrorInfo", &info)];
    if let Some(retry_in) = error.retry_in() {
        let retry_delay = Some(delay(retry_in));
        details.push(any("google.rpc.RetryInfo", &RetryInfo { retry_delay }));
    }
    let status = RpcStatus {
        code: error.code() as i32,
        message: message.to_owned(),
        details,
    };
    status.encode_to_vec()
}

fn any(name: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("type.googleapis.com/{name}"),
        value: message.encode_to_vec(),
    }
}

fn delay(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_refusal_says_in_types_who_why_and_when() {
        let error = CallError::NoEndpoint {
            target: "recognizer".into(),
            reason: "none of 3 takes calls".into(),
            retry_in: Some(Duration::from_millis(1_250)),
        };
        let encoded = encode(&error, Some("10.0.0.1:50051"), 2, "text");
        let status = RpcStatus::decode(&*encoded).unwrap();
        assert_eq!(status.code, crate::grpc::Code::Unavailable as i32);
        let info = ErrorInfo::decode(&*status.details[0].value).unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("NO_ENDPOINT", "safelight-mesh"));
        assert_eq!(info.metadata["target"], "recognizer");
        assert_eq!(info.metadata["endpoint"], "10.0.0.1:50051");
        assert_eq!(info.metadata["tries"], "2");
        assert_eq!(
            status.details[1].type_url,
            "type.googleapis.com/google.rpc.RetryInfo"
        );
        let retry = RetryInfo::decode(&*status.details[1].value).unwrap();
        let delay = retry.retry_delay.unwrap();
        assert_eq!((delay.seconds, delay.nanos), (1, 250_000_000));
    }
}
