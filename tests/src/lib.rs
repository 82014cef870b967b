//! Clusters of real processes, fault proxies, vendors and clients, for the
//! scenarios in `tests/tests` and for the benchmark.
//!
//! Drives the built binaries and the gRPC services and never imports the node
//! crate: what passes here, a person can do. Whatever waits, waits for a
//! condition and has a deadline. What a value here started or made (processes,
//! folders, servers) ends with that value.

pub mod agent;
pub mod apt;
pub mod authority;
pub mod bench;
pub mod binaries;
pub mod cluster;
pub mod dice;
pub mod forgetful;
pub mod http;
pub mod impostor;
pub mod machine;
pub mod netns;
pub mod person;
pub mod plan;
pub mod proxy;
pub mod run;
pub mod tls;
pub mod tuf;
pub mod vendor;
pub mod wait;
