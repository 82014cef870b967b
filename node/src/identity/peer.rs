//! Who is at the other end, and whether they are let in.
//!
//! [`judge`] is the rule, a function of the mesh, the certificate and the time.
//! A node applies it with the mesh document that it holds now, and knows more of
//! machines, which are not in there ([`super::policy`]).

use std::fmt;

use jiff::Timestamp;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{MachineName, NodeName, UserName};
use patchmesh_topology::node::{Membership, Mesh};

use super::certificate::{Certificate, Subject, Validity};

/// Who sent a request. The listener puts it into the request's extensions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A node of the mesh, with a certificate that was checked.
    Node(NodeName),
    /// A user of the mesh, with a certificate that was checked.
    User(UserName),
    /// A machine with a certificate of the mesh's CA that was checked.
    Machine(MachineName),
    /// Root, or the user that runs the node, on the node's own host.
    LocalUser,
    /// Anyone.
    Anonymous,
}

impl Peer {
    /// Who sent a gRPC request; [`Peer::Anonymous`] where no listener said.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Peer {
        request.extensions().get().cloned().unwrap_or(Peer::Anonymous)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Node(name) => write!(f, "node {name}"),
            Peer::User(name) => write!(f, "user {name}"),
            Peer::Machine(name) => write!(f, "machine {name}"),
            Peer::LocalUser => f.write_str("the local administrator"),
            Peer::Anonymous => f.write_str("a caller without a certificate"),
        }
    }
}

/// Why a peer with a certificate of this mesh's CA is not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate states another mesh.
    #[error("the certificate is of mesh {found}, this is mesh {ours}")]
    WrongMesh {
        /// The mesh that the certificate states.
        found: String,
        /// This mesh.
        ours: String,
    },
    /// No such node.
    #[error("this node's mesh document knows no node {0}")]
    UnknownNode(NodeName),
    /// A node that has not joined.
    #[error("node {0} is invited but has not joined")]
    NotJoined(NodeName),
    /// A certificate from an earlier life of the node.
    #[error("the certificate of node {0} is not for the key that it joined with")]
    NodeKey(NodeName),
    /// Shut out.
    #[error("node {0} was revoked")]
    Revoked(NodeName),
    /// No such user.
    #[error("no user {0} is known here")]
    UnknownUser(UserName),
    /// A user who has not joined.
    #[error("user {0} is invited but has not joined")]
    UserNotJoined(UserName),
    /// A user who was shut out.
    #[error("user {0} was revoked")]
    UserRevoked(UserName),
    /// Another key than the user's.
    #[error("the certificate of user {0} is not for the key that is known here")]
    UserKey(UserName),
    /// A machine that was shut out.
    #[error(
        "machine {machine} was revoked at {at:.0}: if it is to take part again, let it join with a token from `patchmesh machine token`"
    )]
    MachineRevoked {
        /// Which.
        machine: MachineName,
        /// When.
        at: Timestamp,
    },
    /// A machine's key from before it joined again.
    #[error(
        "machine {machine} has another key since {since:.0}: if this is the machine, let it join again with a token from `patchmesh machine token`"
    )]
    MachineKey {
        /// Which.
        machine: MachineName,
        /// When the certificate for the other key was issued.
        since: Timestamp,
    },
    /// Expired.
    #[error(
        "the certificate of {subject} ended at {end}, and here it is {now}: check the clocks of both hosts, else get a new certificate"
    )]
    Expired {
        /// Whose certificate.
        subject: Subject,
        /// End of validity.
        end: Timestamp,
        /// This node's clock.
        now: Timestamp,
    },
    /// Not valid yet.
    #[error(
        "the certificate of {subject} begins at {begin}, and here it is only {now}: check the clocks of both hosts"
    )]
    NotYetValid {
        /// Whose certificate.
        subject: Subject,
        /// Begin of validity.
        begin: Timestamp,
        /// This node's clock.
        now: Timestamp,
    },
}

impl Refusal {
    /// One word for the reason, the same for every peer.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Refusal::WrongMesh { .. } => "wrong-mesh",
            Refusal::UnknownNode(_) | Refusal::UnknownUser(_) => "unknown",
            Refusal::NotJoined(_) | Refusal::UserNotJoined(_) => "not-joined",
            Refusal::NodeKey(_) | Refusal::UserKey(_) | Refusal::MachineKey { .. } => "wrong-key",
            Refusal::Revoked(_) | Refusal::UserRevoked(_) | Refusal::MachineRevoked { .. } => {
                "revoked"
            }
            Refusal::Expired { .. } => "expired",
            Refusal::NotYetValid { .. } => "not-yet-valid",
        }
    }
}

/// Whether the holder of `certificate` may take part in `mesh` at `now`.
///
/// # Errors
/// The reason why not.
pub fn judge(mesh: &Mesh, certificate: &Certificate, now: Timestamp) -> Result<Peer, Refusal> {
    if certificate.mesh_id != mesh.id {
        let found = certificate.mesh_id.clone();
        return Err(Refusal::WrongMesh { found, ours: mesh.id.clone() });
    }
    let peer = match &certificate.subject {
        Subject::Node(name) => judge_node(mesh, name, certificate.spki_sha256)?,
        Subject::User(name) => judge_user(mesh, name, certificate.spki_sha256)?,
        // They are not in the document.
        Subject::Machine { name, .. } => Peer::Machine(name.clone()),
    };
    let subject = || certificate.subject.clone();
    match certificate.validity(now) {
        Validity::Now => Ok(peer),
        Validity::Over => {
            Err(Refusal::Expired { subject: subject(), end: certificate.not_after, now })
        }
        Validity::NotYet => {
            Err(Refusal::NotYetValid { subject: subject(), begin: certificate.not_before, now })
        }
    }
}

fn judge_node(mesh: &Mesh, name: &NodeName, key: Sha256) -> Result<Peer, Refusal> {
    let node = mesh.nodes.get(name).ok_or_else(|| Refusal::UnknownNode(name.clone()))?;
    match node.membership {
        Membership::Invited => Err(Refusal::NotJoined(name.clone())),
        Membership::Revoked => Err(Refusal::Revoked(name.clone())),
        Membership::Joined(joined) if joined != key => Err(Refusal::NodeKey(name.clone())),
        Membership::Joined(_) => Ok(Peer::Node(name.clone())),
    }
}

fn judge_user(mesh: &Mesh, name: &UserName, key: Sha256) -> Result<Peer, Refusal> {
    let user = mesh.users.get(name).ok_or_else(|| Refusal::UnknownUser(name.clone()))?;
    match user.membership {
        Membership::Invited => Err(Refusal::UserNotJoined(name.clone())),
        Membership::Revoked => Err(Refusal::UserRevoked(name.clone())),
        Membership::Joined(joined) if joined != key => Err(Refusal::UserKey(name.clone())),
        Membership::Joined(_) => Ok(Peer::User(name.clone())),
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, ToSpan};

    use super::*;
    use crate::identity::testing::TestMesh;
    use patchmesh_topology::person::User;

    #[test]
    fn only_a_joined_node_with_its_own_key_is_let_in() {
        let now = Timestamp::now();
        let test = TestMesh::new();
        let lyon = test.node("lyon");
        let certificate = lyon.certificate();
        let joined = Membership::Joined(certificate.spki_sha256);
        let judged = |membership| {
            let mesh = test.mesh(&[("lyon", None, membership)]);
            judge(&mesh, certificate, now).map_err(|refusal| refusal.reason())
        };
        assert_eq!(judged(joined), Ok(Peer::Node("lyon".parse().expect("a name"))));
        assert_eq!(judged(Membership::Invited), Err("not-joined"));
        assert_eq!(judged(Membership::Revoked), Err("revoked"));
        let other = Membership::Joined(Sha256::from_bytes([1; 32]));
        assert_eq!(judged(other), Err("wrong-key"));

        let mut mesh = test.mesh(&[("paris", None, joined)]);
        let judged =
            |mesh: &Mesh, now| judge(mesh, certificate, now).map_err(|refusal| refusal.reason());
        assert_eq!(judged(&mesh, now), Err("unknown"));
        mesh.id = "another".to_owned();
        assert_eq!(judged(&mesh, now), Err("wrong-mesh"));
        mesh = test.mesh(&[("lyon", None, joined)]);
        assert_eq!(judged(&mesh, certificate.not_after + 4.minutes()), judged(&mesh, now));
        assert_eq!(judged(&mesh, certificate.not_after + 6.minutes()), Err("expired"));
        assert_eq!(judged(&mesh, certificate.not_before - 6.minutes()), Err("not-yet-valid"));
    }

    #[test]
    fn a_clock_a_day_off_is_named() {
        let test = TestMesh::new();
        let lyon = test.node("lyon");
        let mesh = test.mesh(&[("lyon", None, Membership::Joined(lyon.key().spki_sha256()))]);
        let early = Timestamp::now() - SignedDuration::from_hours(24);
        let refusal = judge(&mesh, lyon.certificate(), early);
        assert!(refusal.expect_err("refused").to_string().contains("check the clocks"));
    }

    #[test]
    fn users_are_known_by_their_key() {
        let test = TestMesh::new();
        let admin = test.user("admin");
        let name: UserName = "admin".parse().expect("a name");
        let judged = |users: &[(UserName, Sha256)]| {
            let mut mesh = test.mesh(&[]);
            let user = |(name, key): &(UserName, Sha256)| {
                (name.clone(), User::administrator(name.clone(), *key))
            };
            mesh.users = users.iter().map(user).collect();
            judge(&mesh, admin.certificate(), Timestamp::now()).map_err(|refusal| refusal.reason())
        };
        let key = admin.key().spki_sha256();
        assert_eq!(judged(&[(name.clone(), key)]), Ok(Peer::User(name.clone())));
        assert_eq!(judged(&[]), Err("unknown"));
        assert_eq!(judged(&[(name.clone(), Sha256::from_bytes([1; 32]))]), Err("wrong-key"));
        for (membership, refusal) in
            [(Membership::Invited, "not-joined"), (Membership::Revoked, "revoked")]
        {
            let mut mesh = test.mesh(&[]);
            let user = User { membership, ..User::administrator(name.clone(), key) };
            mesh.users.insert(name.clone(), user);
            let judged = judge(&mesh, admin.certificate(), Timestamp::now());
            assert_eq!(judged.map_err(|refusal| refusal.reason()), Err(refusal));
        }
    }

    #[test]
    fn a_machine_is_let_in_by_its_certificate() {
        let (test, now) = (TestMesh::new(), Timestamp::now());
        let machine = test.machine("pc-1", "workstations");
        let certificate = machine.certificate();
        let judged =
            |mesh: &Mesh, now| judge(mesh, certificate, now).map_err(|refusal| refusal.reason());
        let mut mesh = test.mesh(&[]);
        assert_eq!(judged(&mesh, now), Ok(Peer::Machine("pc-1".parse().expect("a name"))));
        assert_eq!(judged(&mesh, certificate.not_after + 6.minutes()), Err("expired"));
        mesh.id = "another".to_owned();
        assert_eq!(judged(&mesh, now), Err("wrong-mesh"));
    }
}
