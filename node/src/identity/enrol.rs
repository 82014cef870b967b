//! Identities made where the CA is: the primary's own and its first user's, by
//! `init`. Everybody else joins ([`super::join`]).

use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::name::{NodeName, UserName};

use super::ca::{self, Ca, Request};
use super::files::{self, Identity};
use super::key::{self, Key};
use crate::transport::address::NodeUrl;

/// Why no identity was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key.
    #[error("cannot make a key and a certificate request")]
    Key(#[from] key::Error),
    /// No certificate.
    #[error("the CA issued no certificate")]
    Ca(#[from] ca::Error),
    /// The parts do not fit: a fault of this program.
    #[error("the new identity does not hold together")]
    Identity(#[from] files::Error),
}

/// A node's identity with a new key, not saved yet.
///
/// # Errors
/// Where the system gives no randomness, or `now` is out of range.
pub fn node(
    ca: &Ca,
    name: &NodeName,
    url: &NodeUrl,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Identity, Error> {
    let key = Key::generate()?;
    let request = Request::parse(&key.certificate_request(name.as_str())?)?;
    let certificate = ca.issue_node(&request, name, url, lifetime, now)?;
    Ok(Identity::new(key, certificate, ca.certificate().clone())?)
}

/// A user's identity with a new key, not saved yet.
///
/// # Errors
/// As for [`node`].
pub fn user(
    ca: &Ca,
    name: &UserName,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Identity, Error> {
    let key = Key::generate()?;
    let request = Request::parse(&key.certificate_request(name.as_str())?)?;
    let certificate = ca.issue_user(&request, name, lifetime, now)?;
    Ok(Identity::new(key, certificate, ca.certificate().clone())?)
}
