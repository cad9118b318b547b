//! The gRPC contracts of Safelight as generated code.
//!
//! The `.proto` files lie beside this crate's `Cargo.toml`; they are compiled by `protox`, so no `protoc`
//! is needed.
#![allow(missing_docs, reason = "the documentation lies in the .proto files")]

/// The recognition contract that back-ends and their callers already share.
pub mod facerecog {
    tonic::include_proto!("facerecog");
}

/// Faces, landmarks, distances and people.
pub mod recognizer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("safelight.recognizer.v1");
    }
}

/// Thumbnails and other pictures made out of media.
pub mod transformer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("safelight.transformer.v1");
    }
}

/// The encoded `FileDescriptorSet` of every contract here, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
