//! Who is who: the mesh's certificate authority, tokens, certificates, the
//! TLS that carries them, and who of those that connect is let in.
//!
//! A certificate names its holder in a URI, `patchmesh://MESH-ID/node/NAME`,
//! `patchmesh://MESH-ID/user/NAME` or `patchmesh://MESH-ID/machine/GROUP/NAME`.
//! Three things always hold:
//!
//! - A private key never leaves the host that made it.
//! - TLS proves only that the mesh's CA issued a certificate and that the peer
//!   has its key. Whether that peer may take part is [`policy::PeerPolicy`]'s to
//!   say, for every request anew, from the mesh document that this node holds:
//!   so a revocation needs no list of its own, and bites on open connections.
//!   Machines are too many for that document: the CA's certificate lets them in,
//!   unless its holder was shut out or has another key since ([`machines`]).
//! - Everything that depends on the time takes it as an argument; clocks of
//!   two hosts may differ by [`CLOCK_SKEW`].

use std::time::Duration;

use patchmesh_topology::digest::Sha256;

pub mod authority;
pub mod ca;
pub mod certificate;
pub mod enrol;
pub mod files;
pub mod join;
pub mod key;
pub mod machine_token;
#[cfg(feature = "server")]
pub mod machines;
pub mod peer;
pub mod places;
#[cfg(feature = "server")]
pub mod policy;
pub mod renewal;
pub mod sealed;
pub mod service;
pub mod tls;
pub mod token;

#[cfg(all(test, feature = "server"))]
mod fuzz;
#[cfg(all(test, feature = "server"))]
pub(crate) mod testing;
#[cfg(all(test, feature = "server"))]
mod tests;

/// How far two clocks may differ before a certificate is called expired or
/// not valid yet; certificates are backdated by as much.
pub const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// SHA-256 as this module uses it: of keys, certificates and secrets.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut raw = [0; 32];
    raw.copy_from_slice(digest.as_ref());
    Sha256::from_bytes(raw)
}
