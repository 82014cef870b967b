//! The Update Framework 1.0: the trust every node and client shares.
//!
//! TUF answers one question about a document or file that came over an untrusted path: did the people who may decide it
//! sign it, is it the newest they signed, and does it belong with the rest of what we hold? This module owns that answer
//! and nothing else; what the named documents mean is the business of others.
//!
//! ```text
//! canonical   the bytes a signature covers            key         public keys and checking one signature
//! name        role names, target paths, file names    signing     private keys on disk, making a signature
//! hashes      lengths and digests                     repository  writing: root, delegations, generations
//! metadata    root, timestamp, snapshot, targets      layout      which roles a mesh has, and how long each lasts
//! delegation  who may name which paths            ceremony    who holds which role, changed
//!                                                 paper       signed elsewhere, by several
//! envelope    signed bytes, and thresholds of keys
//! trusted     the checks, without I/O or a clock
//!    ▲ search    which role next
//!    ▲ client    fetch, check, persist                 restore     trust again what is stored
//! ```
//!
//! What always holds:
//!
//! - Nothing is trusted before its signatures, version, hashes, length and expiry have been checked, in the order of the
//!   specification's client workflow (section 5). `trusted` is the only place where that happens.
//! - Time is an argument. Nothing here reads a clock.
//! - What is signed and hashed is what was received. Fields unknown to us count for signatures and are never dropped.
//! - Every loop over remote input has a bound: lengths, root rotations, delegations.
//!
//! Specification: <https://theupdateframework.github.io/specification/latest/>

pub mod canonical;
pub mod ceremony;
pub mod client;
pub mod delegation;
pub mod envelope;
#[cfg(test)]
mod fixture;
#[cfg(all(test, feature = "server"))]
mod fuzz;
pub mod hashes;
pub mod key;
pub mod layout;
pub mod metadata;
pub mod name;
pub mod paper;
pub mod repository;
pub mod restore;
pub mod search;
pub mod signing;
pub mod storage;
pub mod trusted;

pub use client::{Client, Fetch, Limits};
pub use metadata::{MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp};
pub use name::{RoleName, TargetPath};
pub use restore::restore;
pub use storage::{FolderStorage, MemoryStorage, Storage};
pub use trusted::TrustedMetadata;
