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
use patchmesh_topology::name::{self, GroupName, MachineName, NodeName, UserName};
use patchmesh_topology::node::{Membership, Mesh};
use tokio::sync::watch;

use super::ca::{self, Ca, Request};
use super::certificate::{Certificate, Subject};
use super::token::Statement;
use crate::transport::address::{self, NodeUrl};

/// Characters of a token's name that are read; ours have 16.
const MAX_TOKEN_ID: usize = 64;

/// Why nobody joins or renews.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node's name is none.
    #[error("the request names nobody")]
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
    /// A person who may not renew.
    #[error("user {0} has not joined, or was revoked: they cannot renew")]
    UserNotJoined(UserName),
    /// Another key than the one that joined.
    #[error("user {0} asks to renew for another key than they joined with")]
    UserKey(UserName),
    /// A machine that may not renew.
    #[error("machine {machine} cannot renew: {why}")]
    Machine {
        /// Which.
        machine: MachineName,
        /// Why not.
        why: &'static str,
    },
    /// Not a key.
    #[error("the signing key is not an Ed25519 key of 32 bytes")]
    SigningKey,
    /// Another key than the one that joined.
    #[error("node {0} asks to renew for another key than it joined with")]
    Key(NodeName),
}

/// What somebody wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applicant {
    /// A node.
    Node {
        /// Its name.
        name: NodeName,
        /// Where it will be reached.
        url: NodeUrl,
    },
    /// A person.
    User {
        /// Their name.
        name: UserName,
        /// The Ed25519 key that they will sign decisions with.
        signing_key: [u8; 32],
    },
    /// A machine.
    Machine {
        /// The name that it wants.
        name: MachineName,
        /// The group that its token is for.
        group: GroupName,
        /// Which token it has.
        token_id: String,
    },
}

impl Applicant {
    /// Whom the certificate will name.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::Node { name, .. } => Subject::Node(name.clone()),
            Self::User { name, .. } => Subject::User(name.clone()),
            Self::Machine { name, group, .. } => {
                Subject::Machine { name: name.clone(), group: group.clone() }
            }
        }
    }
}

/// Somebody wants to join.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As what.
    pub applicant: Applicant,
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
        let asked = &request.certificate_request;
        let (statement, parts): (_, Vec<&[u8]>) = match self.applicant {
            Applicant::Node { .. } => {
                (Statement::Join, vec![request.node.as_bytes(), request.url.as_bytes(), asked])
            }
            Applicant::User { .. } => {
                (Statement::JoinUser, vec![request.user.as_bytes(), &request.signing_key, asked])
            }
            Applicant::Machine { .. } => {
                let (name, group) = (request.machine.as_bytes(), request.group.as_bytes());
                (Statement::JoinMachine, vec![name, group, request.token_id.as_bytes(), asked])
            }
        };
        statement.is_proven(&request.proof, secret_sha256, &parts)
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

    /// The group of a machine and the key that it joined with; nothing where no
    /// such machine joined, or it was revoked.
    ///
    /// # Errors
    /// A failing disk.
    async fn machine(
        &self,
        name: &MachineName,
    ) -> Result<Option<(GroupName, Sha256)>, tonic::Status>;
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
        let (applicant, asked) = read(&request)?;
        // Issued first, since that changes nothing: once the token is
        // redeemed, nothing can go wrong any more.
        let certificate = match &applicant {
            Applicant::Node { name, url } => {
                self.ca.issue_node(&asked, name, url, self.lifetime, now)?
            }
            Applicant::User { name, .. } => {
                self.ca.issue_user(&asked, name, ca::USER_LIFETIME, now)?
            }
            Applicant::Machine { name, group, .. } => {
                self.ca.issue_machine(&asked, name, group, ca::MACHINE_LIFETIME, now)?
            }
        };
        let spki_sha256 = asked.spki_sha256;
        let attempt = Attempt { applicant, spki_sha256, now, request };
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

    /// A new certificate for a person who joined, for the key they joined
    /// with. That key signed the request: it speaks for them.
    ///
    /// # Errors
    /// Where the person has not joined, was revoked, or has another key.
    pub fn renew_user(
        &self,
        name: &UserName,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let asked = Request::parse(request)?;
        let mesh = Arc::clone(&self.mesh.borrow());
        match mesh.users.get(name).map(|user| user.membership) {
            Some(Membership::Joined(key)) if key == asked.spki_sha256 => {}
            Some(Membership::Joined(_)) => return Err(Error::UserKey(name.clone())),
            _ => return Err(Error::UserNotJoined(name.clone())),
        }
        Ok(self.ca.issue_user(&asked, name, ca::USER_LIFETIME, now)?)
    }
}

impl Authority {
    /// A new certificate for a machine that joined, for the key it joined with.
    ///
    /// # Errors
    /// Where the machine has not joined, was revoked, or has another key.
    pub async fn renew_machine(
        &self,
        name: &MachineName,
        request: &[u8],
        now: Timestamp,
    ) -> Result<Certificate, Error> {
        let asked = Request::parse(request)?;
        let refused = |why| Error::Machine { machine: name.clone(), why };
        let known = self.tokens.machine(name).await.map_err(|s| Error::Denied(Box::new(s)))?;
        let (group, key) = known.ok_or_else(|| refused("it has not joined, or was revoked"))?;
        if key != asked.spki_sha256 {
            return Err(refused("it asks for another key than it joined with"));
        }
        Ok(self.ca.issue_machine(&asked, name, &group, ca::MACHINE_LIFETIME, now)?)
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
pub(super) fn read(request: &JoinRequest) -> Result<(Applicant, Request), Error> {
    let applicant = if !request.machine.is_empty() {
        let (name, group) = (request.machine.parse()?, request.group.parse()?);
        // A token's name is short; what is longer names none.
        let token_id = request.token_id.chars().take(MAX_TOKEN_ID).collect();
        Applicant::Machine { name, group, token_id }
    } else if request.user.is_empty() {
        Applicant::Node { name: request.node.parse()?, url: request.url.parse()? }
    } else {
        let name = request.user.parse()?;
        let key = request.signing_key[..].try_into().map_err(|_| Error::SigningKey)?;
        Applicant::User { name, signing_key: key }
    };
    Ok((applicant, Request::parse(&request.certificate_request)?))
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
