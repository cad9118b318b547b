//! Calls as spans, by OpenTelemetry's semantic conventions for RPC and for gRPC
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>).

use std::sync::Arc;

use http::Request;
use http::uri::Authority;

use super::Context;
use super::recorder::{Kind, Value, installed};
use super::span::Recording;
use crate::grpc::Code;
use crate::server::code_name as name_of;

/// A call, made or answered, as a span. Dropped before it ended, it was canceled.
#[derive(Debug, Default)]
pub(crate) struct CallSpan {
    /// Behind a pointer, since most calls are not recorded and all carry it.
    recording: Option<Box<Recording>>,
}

/// The word for what is not known.
const UNKNOWN: &str = "unknown";

// === impl CallSpan ===

impl CallSpan {
    /// A call to be made. Its context goes into the request's headers.
    ///
    /// It is under the call that the present task answers, or what the request's own headers name; without either
    /// it begins a trace, where there is a recorder.
    pub(crate) fn client<B>(target: &Arc<str>, authority: &Authority, request: &mut Request<B>) -> Self {
        let context = match Context::current() {
            Some(current) => current.child(),
            None if installed().is_some() => match Context::from_headers(request.headers()) {
                Some(given) => given.child(),
                None => Context::root(),
            },
            None => return Self::default(),
        };
        context.write(request.headers_mut());
        let (service, method) = names(request.uri().path());
        let span = Self::begin(Kind::Client, &context, service, method);
        span.with(|recording| {
            recording.set("server.address", authority.host().to_owned().into());
            if let Some(port) = authority.port_u16() {
                recording.set("server.port", i64::from(port).into());
            }
            recording.set("mesh.target", target.clone().into());
        })
    }

    /// A call to be answered.
    pub(crate) fn server(context: &Context, service: &str, method: &str) -> Self {
        Self::begin(Kind::Server, context, service, method)
    }

    fn begin(kind: Kind, context: &Context, service: &str, method: &str) -> Self {
        let recording = Recording::begin(kind, context, || format!("{service}/{method}").into());
        Self::of(recording, service, method)
    }

    fn of(recording: Option<Recording>, service: &str, method: &str) -> Self {
        let span = Self {
            recording: recording.map(Box::new),
        };
        span.with(|recording| {
            recording.set("rpc.system", "grpc".into());
            recording.set("rpc.service", service.to_owned().into());
            recording.set("rpc.method", method.to_owned().into());
        })
    }

    fn with(mut self, tell: impl FnOnce(&mut Recording)) -> Self {
        if let Some(recording) = &mut self.recording {
            tell(recording);
        }
        self
    }

    /// The endpoint that was tried last, and how many tries may have reached a server.
    pub(crate) fn tried(&mut self, endpoint: Option<&Arc<str>>, tries: u32) {
        if let Some(recording) = &mut self.recording {
            if let Some(endpoint) = endpoint {
                recording.set("mesh.endpoint", endpoint.clone().into());
            }
            recording.set("mesh.tries", tries.into());
        }
    }

    /// Ends it; only the first end counts.
    pub(crate) fn end(&mut self, code: Code) {
        let Some(mut recording) = self.recording.take() else {
            return;
        };
        recording.set("rpc.grpc.status_code", Value::Integer(code as i64));
        if is_error(recording.kind(), code) {
            recording.set("error.type", name_of(code).into());
            recording.fail(name_of(code).into());
        }
        recording.end();
    }
}

impl Drop for CallSpan {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The service and the method of a path, `/SERVICE/METHOD`.
fn names(path: &str) -> (&str, &str) {
    let names = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    names.unwrap_or((UNKNOWN, UNKNOWN))
}

/// For who made a call, whatever is not `OK`; for who answered it, what is its own fault and not its caller's.
fn is_error(kind: Kind, code: Code) -> bool {
    match kind {
        Kind::Server => matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        ),
        Kind::Client | Kind::Internal => code != Code::Ok,
    }
}

#[cfg(test)]
#[path = "rpc_tests.rs"]
mod tests;
