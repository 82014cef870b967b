//! Handing out join tokens, and taking them back once.
//!
//! Both happen inside the publisher, in the transaction that changes the
//! tree: a token is used exactly when its node has joined.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Membership;
use patchmesh_topology::node::membership::{Invitation, Rejection};

use super::publisher::{Error, Publisher};
use super::records::{TOKENS, TokenRecord};
use crate::generation::Generation;
use crate::identity::authority::Attempt;
use crate::identity::token::{self, Token};
use crate::store;

/// Why no token was made or taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The tree does not allow it.
    #[error(transparent)]
    Mesh(#[from] Rejection),
    /// No token was handed out for this node.
    #[error("no token was made for node {0}; make one with `patchmesh invite`")]
    Unknown(NodeName),
    /// The secret is not that of the token handed out last.
    #[error("the token for node {0} is not the one made last; ask for a new one")]
    Wrong(NodeName),
    /// It was used before.
    #[error("the token for node {node} was used already, at {at}; ask for a new one")]
    Used {
        /// Whose it was.
        node: NodeName,
        /// When it was used.
        at: Timestamp,
    },
    /// Its time is over.
    #[error("the token for node {node} expired at {at}; ask for a new one")]
    Expired {
        /// Whose it was.
        node: NodeName,
        /// When it expired.
        at: Timestamp,
    },
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
            let token =
                Token::new(draft.mesh.id.clone(), name.clone(), ca_sha256, parent_url, expires_at)
                    .map_err(Refusal::Make)?;
            let record = TokenRecord {
                node: name.to_string(),
                secret_sha256: token.secret_sha256().as_bytes().to_vec(),
                expires_at: expires_at.as_second(),
                used_at: 0,
            };
            draft.put(&TOKENS, name.as_str(), record);
            Ok::<_, Refusal>(Issued { text: token.encode(), expires_at })
        })
        .await?;
    Ok(issued)
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
            let node = attempt.node.clone();
            let mut record =
                draft.get(&TOKENS, node.as_str())?.ok_or_else(|| Refusal::Unknown(node.clone()))?;
            let secret = Sha256::try_from(record.secret_sha256.as_slice())
                .map_err(|_| Refusal::Unknown(node.clone()))?;
            if !attempt.proves(&secret) {
                return Err(Refusal::Wrong(node));
            }
            // By the very clock that made it: there is no skew to allow for.
            if seconds(record.expires_at) < draft.now {
                return Err(Refusal::Expired { node, at: seconds(record.expires_at) });
            }
            if record.used_at != 0 {
                let joined = draft.mesh.node(&node).map(|one| &one.membership);
                if joined == Some(&Membership::Joined(attempt.spki_sha256)) {
                    return Ok(secret);
                }
                return Err(Refusal::Used { node, at: seconds(record.used_at) });
            }
            let url = attempt.url.to_string();
            draft.mesh = Arc::new(draft.mesh.join(&node, attempt.spki_sha256, url)?);
            record.used_at = draft.now.as_second();
            draft.put(&TOKENS, node.as_str(), record);
            Ok(secret)
        })
        .await
}

fn seconds(at: i64) -> Timestamp {
    // Only what this module wrote is read here.
    Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
