//! Face recognition behind gRPC.
