//! Patchmesh as a library: what the `patchmesh` and `tuf-client` binaries are made of.

#[cfg(feature = "server")]
pub mod cli;
pub mod config;
#[cfg(feature = "server")]
pub mod content;
#[cfg(feature = "server")]
pub mod daemon;
#[cfg(feature = "server")]
mod demo;
pub mod http;
pub mod identity;
pub mod log;
pub mod openpgp;
pub mod rpc;
pub mod source;
#[cfg(feature = "server")]
pub mod store;
pub mod transport;
pub mod tuf;
pub mod view;
