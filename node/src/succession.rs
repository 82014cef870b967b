//! How a mesh survives the loss of its primary.
//!
//! A primary that was put back to an earlier state asks the other nodes what
//! they have accepted since, takes over the newest of it and goes on above
//! it, so that no decision is lost and nothing looks like a rollback. Every
//! such start raises the *epoch* in the signed mesh document: whoever still
//! signs under a lower one finds it at other nodes and stops.
//!
//! ```text
//! mark      the data folder was put back          ask       what one node holds, verified
//! census    all of them, and who is waited for    adopt     the documents of the newest state
//! watch     does somebody else sign?              announce  telling nodes where the primary is
//! records   what a standby keeps of the primary's own
//! ```
//!
//! What always holds: what other nodes say counts only as far as it is signed
//! by the roles' own keys, under the root that this node trusts.

pub mod adopt;
pub mod announce;
pub mod ask;
pub mod census;
pub mod mark;
pub mod records;
pub mod watch;

use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use rustls_pki_types::CertificateDer;
use tonic::transport::Channel;

use crate::budget::Budget;
use crate::identity::tls::{self, Credentials, Expected};
use crate::transport::{address, channel};

/// How this node reaches others.
#[derive(Clone)]
pub struct Ways {
    /// The mesh's CA.
    pub ca: CertificateDer<'static>,
    /// What this node presents.
    pub credentials: Arc<Credentials>,
    /// Told what passes.
    pub budget: Budget,
}

impl std::fmt::Debug for Ways {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").finish_non_exhaustive()
    }
}

/// Why there is no way to a node.
#[derive(Debug, thiserror::Error)]
pub enum WayError {
    /// Its URL.
    #[error("the URL of node {0} cannot be used")]
    Url(NodeName, #[source] address::Error),
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[from] tls::Error),
    /// The channel.
    #[error("no channel can be made")]
    Channel(#[from] channel::Error),
}

impl Ways {
    /// A channel to the node `name` at `url`; it connects when it is used.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn to(&self, name: &NodeName, url: &str) -> Result<Channel, WayError> {
        self.way(name, url, Some(self.credentials.clone()))
    }

    /// The same without showing who calls.
    ///
    /// # Errors
    /// The same.
    pub fn unnamed(&self, name: &NodeName, url: &str) -> Result<Channel, WayError> {
        self.way(name, url, None)
    }

    fn way(
        &self,
        name: &NodeName,
        url: &str,
        credentials: Option<Arc<Credentials>>,
    ) -> Result<Channel, WayError> {
        let url = url.parse().map_err(|error| WayError::Url(name.clone(), error))?;
        let tls = tls::client(&self.ca, credentials, Expected::Node(name.clone()))?;
        Ok(channel::to_metered_node(&url, tls, Some(self.budget.meter(name)))?)
    }
}
