//! Patchmesh as a library: what the `patchmesh` and `tuf-client` binaries are made of.

pub mod agent;
#[cfg(feature = "server")]
pub mod alerts;
#[cfg(feature = "server")]
pub mod assess;
#[cfg(feature = "server")]
mod backoff;
#[cfg(feature = "server")]
pub mod backup;
#[cfg(feature = "server")]
pub mod brakes;
#[cfg(feature = "server")]
pub mod budget;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod content;
#[cfg(feature = "server")]
pub mod daemon;
#[cfg(feature = "server")]
pub mod demo;
mod durable;
pub mod duration;
#[cfg(all(test, feature = "server"))]
mod fuzz;
#[cfg(feature = "server")]
pub mod generation;
mod hash;
#[cfg(feature = "server")]
pub mod http;
pub mod identity;
#[cfg(feature = "server")]
pub mod inventories;
#[cfg(feature = "server")]
pub mod legacy;
pub mod log;
#[cfg(feature = "server")]
pub mod openpgp;
pub mod pace;
#[cfg(feature = "server")]
pub mod primary;
#[cfg(feature = "server")]
pub mod quarantine;
#[cfg(feature = "server")]
pub mod reboots;
#[cfg(feature = "server")]
pub mod replicate;
#[cfg(feature = "server")]
pub mod reports;
#[cfg(feature = "server")]
pub mod rpc;
#[cfg(feature = "server")]
pub mod scrub;
pub mod signed;
#[cfg(feature = "server")]
pub mod source;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod succession;
pub mod terminal;
pub mod transport;
pub mod tuf;
#[cfg(feature = "server")]
pub mod view;
