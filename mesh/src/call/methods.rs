//! What is known of methods: which of them may be called again.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

/// Whether calling a method twice does more than calling it once (`google.protobuf.MethodOptions.IdempotencyLevel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Nobody says so: it is called again only if it certainly was not processed.
    Unknown,
    /// `IDEMPOTENT`, or `NO_SIDE_EFFECTS`: it may be called again.
    Idempotent,
}

/// What is known of the methods of a target, by their paths (`/package.Service/Method`).
///
/// ```
/// use safelight_mesh::{Idempotency, Methods};
///
/// let methods = Methods::default().idempotent("/billing.v1.Billing/GetInvoice");
/// assert_eq!(methods.idempotency("/billing.v1.Billing/GetInvoice"), Idempotency::Idempotent);
/// assert_eq!(methods.idempotency("/billing.v1.Billing/Pay"), Idempotency::Unknown);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Methods {
    by_path: Arc<HashMap<String, Idempotency>>,
}

/// Bytes that are no `google.protobuf.FileDescriptorSet`.
#[derive(Debug, thiserror::Error)]
#[error("not an encoded FileDescriptorSet: {0}")]
pub struct DescriptorError(#[from] prost::DecodeError);

// === impl Methods ===

impl Methods {
    /// Adds what an encoded descriptor set says: methods with `option idempotency_level = IDEMPOTENT` or
    /// `NO_SIDE_EFFECTS` may be called again.
    ///
    /// # Errors
    /// The bytes are no descriptor set.
    pub fn descriptor_set(mut self, encoded: &[u8]) -> Result<Self, DescriptorError> {
        let set = FileDescriptorSet::decode(encoded)?;
        let by_path = Arc::make_mut(&mut self.by_path);
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let package = file.package();
                    let dot = if package.is_empty() { "" } else { "." };
                    let path = format!("/{package}{dot}{}/{}", service.name(), method.name());
                    let level = method.options.as_ref().map(|options| options.idempotency_level());
                    let idempotency = match level {
                        Some(IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent) => {
                            Idempotency::Idempotent
                        }
                        Some(IdempotencyLevel::IdempotencyUnknown) | None => Idempotency::Unknown,
                    };
                    by_path.insert(path, idempotency);
                }
            }
        }
        Ok(self)
    }

    /// Says of one method, by its path, that it may be called again, whatever its proto says.
    pub fn idempotent(mut self, path: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.by_path).insert(path.into(), Idempotency::Idempotent);
        self
    }

    /// Whether the method of this path may be called again.
    pub fn idempotency(&self, path: &str) -> Idempotency {
        self.by_path.get(path).copied().unwrap_or(Idempotency::Unknown)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_proto_says_what_may_be_called_again() {
        let methods = Methods::default()
            .descriptor_set(safelight_proto::FILE_DESCRIPTOR_SET)
            .unwrap();
        let idempotency = |path| methods.idempotency(path);
        assert_eq!(
            idempotency("/facerecog.Identify/Identify"),
            Idempotency::Idempotent
        );
        assert_eq!(
            idempotency("/safelight.recognizer.v1.Recognizer/EnrollPerson"),
            Idempotency::Idempotent
        );
        assert_eq!(idempotency("/facerecog.Identify/Nothing"), Idempotency::Unknown);
    }

    #[test]
    fn bytes_that_are_no_descriptor_set_are_refused() {
        assert!(Methods::default().descriptor_set(b"no").is_err());
    }
}
