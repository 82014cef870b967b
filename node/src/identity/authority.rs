//! The primary's side of joining and renewing: a token or a key against a
//! certificate.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::identity::{JoinRequest, JoinResponse};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{self, NodeName};
use patchmesh_topology::node::{Membership, Mesh};
use tokio::sync::watch;

use super::ca::{self, Ca, Request};
use super::certificate::Certificate;
use super::token::Statement;
use crate::transport::address::{self, NodeUrl};

/// Why nobody joins or renews.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node's name is none.
    #[error("the request names no node")]
    Node(#[from] name::Error),
    /// The node's URL is none.
    #[error("the request's URL cannot be used")]
    Url(#[from] address::Error),
    /// The certificate request cannot be used, or the CA failed.
    #[error("no certificate can be issued")]
    Ca(#[from] ca::Error),
    /// The token is of no use, or the primary could not record its use.
    #[error("the token was not redeemed: {}", .0.message())]
    Denied(Box<tonic::Status>),
    /// A node that may not renew.
    #[error("node {0} has not joined, or was revoked: it cannot renew")]
    NotJoined(NodeName),
    /// Another key than the one that joined.
    #[error("node {0} asks to renew for another key than it joined with")]
    Key(NodeName),
}

/// Somebody wants to join.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As which node.
    pub node: NodeName,
    /// Where it will be reached.
    pub url: NodeUrl,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    pub spki_sha256: Sha256,
    /// The primary's clock.
    pub now: Timestamp,
    request: JoinRequest,
}

impl Attempt {
    /// Whether they hold the token whose secret has this SHA-256.
    #[must_use]
    pub fn proves(&self, secret_sha256: &Sha256) -> bool {
        let request = &self.request;
        let parts = [request.node.as_bytes(), request.url.as_bytes(), &request.certificate_request];
        Statement::Join.is_proven(&request.proof, secret_sha256, &parts)
    }
}

/// What a host learns when it has joined.
#[derive(Debug, Clone)]
pub struct Redeemed {
    /// SHA-256 of the token's secret, to prove the answer with.
    pub secret_sha256: Sha256,
    /// The node's parent.
    pub parent: NodeName,
    /// Where the parent is reached.
    pub parent_url: String,
    /// The TUF root metadata to pin.
    pub tuf_root: Bytes,
}

/// The primary's open tokens.
#[async_trait]
pub trait Tokens: Send + Sync + 'static {
    /// Redeems the token of a node and records that the node joined with this
    /// key and URL, both or neither. Of two attempts at a time one wins. The
    /// winner may come again with the same key while the token lasts: its
    /// answer may have got lost on the way.
    ///
    /// # Errors
    /// Why not, as the joining host is to see it: `PERMISSION_DENIED` for a
    /// token that is unknown, used, expired or altered ([`Attempt::proves`] is
    /// false), `FAILED_PRECONDITION` for a node revoked meanwhile. Nothing has
    /// changed then.
    async fn redeem(&self, attempt: Attempt) -> Result<Redeemed, tonic::Status>;
}

/// The CA together with what it needs to decide.
pub struct Authority {
    ca: Arc<Ca>,
    tokens: Arc<dyn Tokens>,
    mesh: watch::Receiver<Arc<Mesh>>,
    lifetime: Duration,
}

impl Authority {
    /// An authority that issues certificates of this lifetime.
    #[must_use]
    pub fn new(
        ca: Arc<Ca>,
        tokens: Arc<dyn Tokens>,
        mesh: watch::Receiver<Arc<Mesh>>,
        lifetime: Duration,
    ) -> Self {
        Self { ca, tokens, mesh, lifetime }
    }

    /// Redeems a token for a certificate.
    ///
    /// # Errors
    /// Where the request makes no sense or the token is of no use.
    pub async fn join(&self, request: JoinRequest, now: Timestamp) -> Result<JoinResponse, Error> {
        let (node, url, asked) = read(&request)?;
        // Issued first, since that changes nothing: once the token is
        // redeemed, nothing can go wrong any more.
        let certificate = self.ca.issue_node(&asked, &node, &url, self.lifetime, now)?;
        let spki_sha256 = asked.spki_sha256;
        let attempt = Attempt { node, url, spki_sha256, now, request };
        let denied = |status| Error::Denied(Box::new(status));
        let redeemed = self.tokens.redeem(attempt).await.map_err(denied)?;
        let mut response = JoinResponse {
            certificate: certificate.der.to_vec().into(),
            ca_certificate: self.ca.certificate().to_vec().into(),
            tuf_root: redeemed.tuf_root,
            mesh_id: self.ca.mesh_id().to_owned(),
            parent: redeemed.parent.to_string(),
            parent_url: redeemed.parent_url,
            proof: Bytes::new(),
        };
        response.proof =
            Statement::Joined.prove(&redeemed.secret_sha256, &stated(&response)).into();
        Ok(response)
    }

    /// A new certificate for a node that joined, for the key it joined with.
    ///
    /// # Errors
    /// Where the node has not joined, was revoked, or has another key.
    pub fn renew(
        &self,
        name: &NodeName,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let asked = Request::parse(request)?;
        let mesh = Arc::clone(&self.mesh.borrow());
        let node = mesh.nodes.get(name).ok_or_else(|| Error::NotJoined(name.clone()))?;
        match node.membership {
            Membership::Joined(key) if key == asked.spki_sha256 => {}
            Membership::Joined(_) => return Err(Error::Key(name.clone())),
            Membership::Invited | Membership::Revoked => {
                return Err(Error::NotJoined(name.clone()));
            }
        }
        let url: NodeUrl = node.url.parse()?;
        Ok(self.ca.issue_node(&asked, name, &url, self.lifetime, now)?)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("ca", &self.ca).finish_non_exhaustive()
    }
}

/// Reads a join request. Every node on the way up does, so that what makes no
/// sense goes no further.
///
/// # Errors
/// The first part that makes no sense.
pub(super) fn read(request: &JoinRequest) -> Result<(NodeName, NodeUrl, Request), Error> {
    let node = request.node.parse()?;
    let url = request.url.parse()?;
    Ok((node, url, Request::parse(&request.certificate_request)?))
}

/// What the proof of an answer covers: everything but itself.
pub(super) fn stated(response: &JoinResponse) -> [&[u8]; 6] {
    [
        &response.certificate,
        &response.ca_certificate,
        &response.tuf_root,
        response.mesh_id.as_bytes(),
        response.parent.as_bytes(),
        response.parent_url.as_bytes(),
    ]
}
