//! A circuit-breaking gRPC client for tonic.
