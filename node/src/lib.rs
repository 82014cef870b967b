//! Patchmesh as a library: what the `patchmesh` and `tuf-client` binaries are made of.

pub mod openpgp;
pub mod source;
pub mod tuf;
