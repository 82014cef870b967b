//! The gRPC side of a node.

pub mod rights;
