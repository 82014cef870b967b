//! A new certificate for the machine's key, while the old one is good.

use std::path::Path;

use patchmesh_topology::name::MachineName;

use super::link::{self, Link};
use crate::identity::certificate::{self, Certificate};
use crate::identity::files::{self, Identity};
use crate::identity::{key, renewal};

/// Why there is none this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key cannot be used.
    #[error("cannot make a certificate request")]
    Key(#[from] key::Error),
    /// The node cannot be asked, or the mesh refused.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// What came cannot be read.
    #[error("the new certificate cannot be used")]
    Certificate(#[from] certificate::Error),
    /// What came is not for this machine.
    #[error(transparent)]
    Renewal(#[from] renewal::Error),
    /// It cannot be kept.
    #[error("the new certificate cannot be kept")]
    Files(#[from] files::Error),
}

/// Asks for it, and takes it into use: first on disk, then in TLS.
///
/// # Errors
/// The old one stays then.
pub async fn run(
    link: &Link,
    machine: &MachineName,
    identity: &Identity,
    folder: &Path,
) -> Result<Identity, Error> {
    let request = identity.key().certificate_request(machine.as_str())?;
    let certificate = Certificate::parse(&link.renew(machine, request).await?)?;
    let renewed = renewal::with(identity, certificate)?;
    renewed.save_certificate(folder)?;
    link.present(&renewed)?;
    Ok(renewed)
}
