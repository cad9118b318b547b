//! Panics of handlers, which end a call and nothing else.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::method::Method;
use crate::grpc::Status;

/// Runs a handler's step. What it was at is never touched again after a panic, but dropped; so it does not matter
/// what state the panic left it in.
pub(super) fn caught<R>(step: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(step))
}

/// Logs and counts a panic; gives what its caller is answered, which says nothing of our insides.
pub(super) fn status(method: &Method, panic: &(dyn Any + Send)) -> Status {
    let message = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text");
    tracing::error!(
        service = method.service,
        method = method.name,
        panic = message,
        "the handler panicked"
    );
    method.panics.increment(1);
    Status::internal("the handler panicked")
}
