//! Group tokens: what lets machines into a group, as many as the token says.
//!
//! A group token looks like any join token ([`super::token`]) and is proven the
//! same way: its secret is never sent. It names a group instead of one host, so
//! each machine chooses its own name, and it has an id by which the primary finds
//! it.

use std::fmt;

use jiff::Timestamp;
use patchmesh_proto::identity::JoinToken;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::GroupName;
use prost::Message;

use super::certificate::Subject;
use super::token::{Error, Secret, check_expiry, open, seal, whole_seconds};
use crate::transport::address::NodeUrl;

/// Bytes of a token's id before it is written in hexadecimal.
const ID: usize = 8;

/// What a group token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineToken {
    /// The mesh.
    pub mesh_id: String,
    /// The group that its holders join.
    pub group: GroupName,
    /// By which the primary finds it; no secret.
    pub id: String,
    /// SHA-256 of the DER of the mesh's CA certificate.
    pub ca_sha256: Sha256,
    /// Whom to ask.
    pub node_url: NodeUrl,
    /// Proves that the holder has the token.
    pub secret: Secret,
    /// When it ends, to the second.
    pub expires_at: Timestamp,
}

impl MachineToken {
    /// A token with a new id and secret.
    ///
    /// # Errors
    /// Where the node's URL is none, or the system gives no randomness.
    pub fn new(
        mesh_id: String,
        group: GroupName,
        ca_sha256: Sha256,
        node_url: &str,
        expires_at: Timestamp,
    ) -> Result<Self, Error> {
        let mut id = [0; ID];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| Error::Random)?;
        Ok(Self {
            mesh_id,
            group,
            id: hex::encode(id),
            ca_sha256,
            node_url: node_url.parse().map_err(Error::Parent)?,
            secret: Secret::generate()?,
            expires_at,
        })
    }

    /// The token as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let message = JoinToken {
            mesh_id: self.mesh_id.clone(),
            ca_sha256: self.ca_sha256.as_bytes().to_vec().into(),
            parent_url: self.node_url.to_string(),
            secret: self.secret.to_bytes().into(),
            expires_at: Some(whole_seconds(self.expires_at)),
            group: self.group.to_string(),
            token_id: self.id.clone(),
            ..JoinToken::default()
        };
        seal(message.encode_to_vec())
    }

    /// Refuses a token whose time is over, clock skew allowed for.
    ///
    /// # Errors
    /// [`Error::Expired`], for `subject`.
    pub fn check_expiry(&self, subject: &Subject, now: Timestamp) -> Result<(), Error> {
        check_expiry(subject, self.expires_at, now)
    }

    /// Reads a token; white space around it does not matter.
    ///
    /// # Errors
    /// [`Error::Mistyped`] where the checksum does not hold; others where the
    /// text is something else.
    pub fn decode(text: &str) -> Result<Self, Error> {
        let message = open(text)?;
        if message.group.is_empty() {
            return Err(Error::NotForMachines);
        }
        let seconds = message.expires_at.ok_or(Error::Field("expiry"))?.seconds;
        Ok(Self {
            mesh_id: message.mesh_id,
            group: message.group.parse().map_err(Error::Node)?,
            id: message.token_id,
            ca_sha256: Sha256::try_from(&message.ca_sha256[..])
                .map_err(|_| Error::Field("CA digest"))?,
            node_url: message.parent_url.parse().map_err(Error::Parent)?,
            secret: Secret::from_bytes(&message.secret)?,
            expires_at: Timestamp::from_second(seconds).map_err(|_| Error::Field("expiry"))?,
        })
    }
}

impl fmt::Display for MachineToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::sha256;
    use crate::identity::token::Token;

    #[test]
    fn a_group_token_survives_the_paper_and_is_no_nodes() {
        let at = Timestamp::from_second(1_800_000_000).expect("a time");
        let group: GroupName = "workstations".parse().expect("a name");
        let token = MachineToken::new("m".into(), group, sha256(b"ca"), "https://hq:1", at);
        let token = token.expect("a token");
        assert_eq!(MachineToken::decode(&format!(" {token}\n")), Ok(token.clone()));
        let refused = Token::decode(&token.encode());
        assert_eq!(refused, Err(Error::ForMachines("workstations".to_owned())));
        let node: patchmesh_topology::name::NodeName = "lyon".parse().expect("a name");
        let node = Token::new("m".into(), node, sha256(b"ca"), "https://hq:1", at);
        let refused = MachineToken::decode(&node.expect("a token").encode());
        assert_eq!(refused, Err(Error::NotForMachines));
    }
}
