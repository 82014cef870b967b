//! Patchmesh as a library: what the `patchmesh` and `tuf-client` binaries are made of.

#[cfg(feature = "server")]
pub mod content;
pub mod http;
pub mod identity;
pub mod openpgp;
pub mod rpc;
pub mod source;
#[cfg(feature = "server")]
pub mod store;
pub mod transport;
pub mod tuf;
pub mod view;
