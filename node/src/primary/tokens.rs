//! Handing out join tokens, and taking them back once.
//!
//! Both happen inside the publisher, in the transaction that changes the
//! tree: a token is used exactly when its node has joined.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{NodeName, UserName};
use patchmesh_topology::node::membership::{Invitation, Rejection};
use patchmesh_topology::node::{Membership, Mesh, Node};
use patchmesh_topology::person::{self, UserRole};

use super::draft::Draft;
use super::publisher::{Error, Publisher};
use super::records::{TOKENS, TokenRecord};
use crate::generation::Generation;
use crate::identity::authority::{Applicant, Attempt};
use crate::identity::certificate::Subject;
use crate::identity::token::{self, Token};
use crate::store;

/// Why no token was made or taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The tree does not allow it.
    #[error(transparent)]
    Mesh(#[from] Rejection),
    /// The mesh's people do not allow it.
    #[error(transparent)]
    Person(#[from] person::Rejection),
    /// The node to ask is none.
    #[error("there is no node {0} that has joined, to ask")]
    Via(NodeName),
    /// No token was handed out for this node.
    #[error(
        "no token was made for {0}; make one with `patchmesh invite` or `patchmesh user invite`"
    )]
    Unknown(Subject),
    /// The secret is not that of the token handed out last.
    #[error("the token for {0} is not the one made last; ask for a new one")]
    Wrong(Subject),
    /// It was used before.
    #[error("the token for {subject} was used already, at {at}; ask for a new one")]
    Used {
        /// Whose it was.
        subject: Subject,
        /// When it was used.
        at: Timestamp,
    },
    /// Its time is over.
    #[error("the token for {subject} expired at {at}; ask for a new one")]
    Expired {
        /// Whose it was.
        subject: Subject,
        /// When it expired.
        at: Timestamp,
    },
    /// A mesh without a primary; a fault of this program.
    #[error("the mesh has no primary to ask")]
    NoPrimary,
    /// The token could not be made.
    #[error("no token could be made")]
    Make(#[source] token::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
}

/// A token as handed out.
#[derive(Debug, Clone)]
pub struct Issued {
    /// What the new host's administrator pastes.
    pub text: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// Enters the node into the tree and makes its token.
///
/// # Errors
/// [`Refusal`], inside the publisher's error.
pub async fn invite(
    publisher: &Publisher,
    ca_sha256: Sha256,
    invitation: Invitation,
    life: SignedDuration,
) -> Result<Issued, Error<Refusal>> {
    let (issued, _) = publisher
        .publish(move |draft| {
            let expires_at = draft.now + life;
            let parent_url = draft
                .mesh
                .nodes
                .get(&invitation.parent)
                .map(|parent| parent.url.clone())
                .unwrap_or_default();
            let name = invitation.name.clone();
            draft.mesh = Arc::new(draft.mesh.invite(invitation)?);
            hand_out(draft, name.into(), ca_sha256, &parent_url, expires_at)
        })
        .await?;
    Ok(issued)
}

/// Enters the person into the mesh and makes their token. They ask the node
/// `via` to join, or the primary.
///
/// # Errors
/// [`Refusal`], inside the publisher's error.
pub async fn invite_user(
    publisher: &Publisher,
    ca_sha256: Sha256,
    (name, roles): (UserName, BTreeSet<UserRole>),
    via: Option<NodeName>,
    life: SignedDuration,
) -> Result<Issued, Error<Refusal>> {
    let (issued, _) = publisher
        .publish(move |draft| {
            let expires_at = draft.now + life;
            let asked = match via {
                Some(via) => draft
                    .mesh
                    .node(&via)
                    .filter(|node| node.is_joined())
                    .ok_or(Refusal::Via(via))?,
                None => primary(&draft.mesh).ok_or(Refusal::NoPrimary)?,
            };
            let url = asked.url.clone();
            draft.mesh = Arc::new(draft.mesh.invite_user(name.clone(), roles)?);
            hand_out(draft, name.into(), ca_sha256, &url, expires_at)
        })
        .await?;
    Ok(issued)
}

/// The node that signs.
fn primary(mesh: &Mesh) -> Option<&Node> {
    mesh.nodes.values().find(|node| node.parent.is_none())
}

fn hand_out(
    draft: &mut Draft,
    subject: Subject,
    ca_sha256: Sha256,
    url: &str,
    expires_at: Timestamp,
) -> Result<Issued, Refusal> {
    let mesh_id = draft.mesh.id.clone();
    let token =
        Token::new(mesh_id, subject.clone(), ca_sha256, url, expires_at).map_err(Refusal::Make)?;
    let record = TokenRecord {
        node: subject.name().to_owned(),
        secret_sha256: token.secret_sha256().as_bytes().to_vec(),
        expires_at: expires_at.as_second(),
        used_at: 0,
    };
    draft.put(&TOKENS, &key(&subject), record);
    Ok(Issued { text: token.encode(), expires_at })
}

/// The name of a token's record. No node has a slash in its name.
fn key(subject: &Subject) -> String {
    match subject {
        Subject::Node(name) => name.to_string(),
        Subject::User(name) => format!("user/{name}"),
        // Machines have tokens of their own kind.
        Subject::Machine { name, .. } => format!("machine/{name}"),
    }
}

/// Takes a token and enters the holder into the tree. Returns the SHA-256 of
/// the token's secret and the generation that has the node.
///
/// Who redeemed it may come again with the same key while the token lasts:
/// the answer may have got lost on the way.
///
/// # Errors
/// [`Refusal`], inside the publisher's error; the token is then still good
/// if it was good before.
pub async fn redeem(
    publisher: &Publisher,
    attempt: Attempt,
) -> Result<(Sha256, Arc<Generation>), Error<Refusal>> {
    publisher
        .publish(move |draft| {
            let subject = attempt.applicant.subject();
            let unknown = || Refusal::Unknown(subject.clone());
            let mut record = draft.get(&TOKENS, &key(&subject))?.ok_or_else(unknown)?;
            let secret =
                Sha256::try_from(record.secret_sha256.as_slice()).map_err(|_| unknown())?;
            if !attempt.proves(&secret) {
                return Err(Refusal::Wrong(subject));
            }
            // By the very clock that made it: there is no skew to allow for.
            if seconds(record.expires_at) < draft.now {
                return Err(Refusal::Expired { subject, at: seconds(record.expires_at) });
            }
            if record.used_at != 0 {
                if has_joined(&draft.mesh, &attempt) {
                    return Ok(secret);
                }
                return Err(Refusal::Used { subject, at: seconds(record.used_at) });
            }
            let key_sha256 = attempt.spki_sha256;
            draft.mesh = Arc::new(match &attempt.applicant {
                Applicant::Node { name, url } => {
                    draft.mesh.join(name, key_sha256, url.to_string())?
                }
                Applicant::User { name, signing_key } => {
                    draft.mesh.join_user(name, key_sha256, *signing_key)?
                }
                Applicant::Machine { .. } => return Err(Refusal::Unknown(subject)),
            });
            record.used_at = draft.now.as_second();
            draft.put(&TOKENS, &key(&subject), record);
            Ok(secret)
        })
        .await
}

/// Whether the mesh has the applicant already, with these very keys.
fn has_joined(mesh: &Mesh, attempt: &Attempt) -> bool {
    let joined = Membership::Joined(attempt.spki_sha256);
    match &attempt.applicant {
        Applicant::Node { name, .. } => {
            mesh.node(name).is_some_and(|node| node.membership == joined)
        }
        Applicant::User { name, signing_key } => mesh.users.get(name).is_some_and(|user| {
            user.membership == joined && user.signing_key == Some(*signing_key)
        }),
        // It is in no mesh document.
        Applicant::Machine { .. } => false,
    }
}

fn seconds(at: i64) -> Timestamp {
    // Only what this module wrote is read here.
    Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
