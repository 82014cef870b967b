//! People: who may give orders, which, and with what keys.
//!
//! A person is known by two keys that never leave their machine: one for
//! their certificate, with which they are let in, and one with which they sign
//! decisions. Roles say what they may ask for; whose signature counts for a
//! stage is stated apart, by the root key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::digest::Sha256;
use crate::name::{Site, UserName};
use crate::node::{Membership, Mesh, Node, Stage, UnknownWord};

/// Most people of a mesh.
pub const MAX_USERS: usize = 10_000;
/// Most roles of a person.
pub const MAX_ROLES: usize = 32;

/// What a person may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserRole {
    /// Everything that is asked for over the network.
    Administrator,
    /// Judges flaws: assessments and advisories.
    Security,
    /// Decides what is installed in a stage.
    Approver(Stage),
    /// Runs the mesh from day to day: sources, plans, checks.
    Operator,
    /// Lets nodes in and out at a site and below it.
    SiteAdministrator(Site),
    /// Looks at everything and changes nothing.
    Auditor,
}

/// The roles as they are written on a command line.
const ROLES: &str = "administrator, security, approver:STAGE, operator, \
                     site-administrator:SITE or auditor";

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrator => f.pad("administrator"),
            Self::Security => f.pad("security"),
            Self::Approver(stage) => write!(f, "approver:{stage}"),
            Self::Operator => f.pad("operator"),
            Self::SiteAdministrator(site) => write!(f, "site-administrator:{site}"),
            Self::Auditor => f.pad("auditor"),
        }
    }
}

impl FromStr for UserRole {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let unknown =
            || UnknownWord { kind: "role of a person", text: text.to_owned(), allowed: ROLES };
        match text.split_once(':') {
            None => match text {
                "administrator" => Ok(Self::Administrator),
                "security" => Ok(Self::Security),
                "operator" => Ok(Self::Operator),
                "auditor" => Ok(Self::Auditor),
                _ => Err(unknown()),
            },
            Some(("approver", stage)) => {
                stage.parse().map(Self::Approver).map_err(|_: UnknownWord| unknown())
            }
            Some(("site-administrator", site)) => {
                site.parse().map(Self::SiteAdministrator).map_err(|_| unknown())
            }
            Some(_) => Err(unknown()),
        }
    }
}

/// One person as the mesh document states them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their name, unique in the mesh.
    pub name: UserName,
    /// What they may do; at least one while they are not revoked.
    pub roles: BTreeSet<UserRole>,
    /// Whether they may take part, and with which certificate key.
    pub membership: Membership,
    /// The Ed25519 key that they sign decisions with; some never sign.
    pub signing_key: Option<[u8; 32]>,
}

impl User {
    /// An administrator who has joined, without a key to sign with.
    #[must_use]
    pub fn administrator(name: UserName, key: Sha256) -> Self {
        Self {
            name,
            roles: BTreeSet::from([UserRole::Administrator]),
            membership: Membership::Joined(key),
            signing_key: None,
        }
    }

    /// Whether they take part now.
    #[must_use]
    pub const fn has_joined(&self) -> bool {
        matches!(self.membership, Membership::Joined(_))
    }

    /// Whether they take part now and have a role that `is_wanted`.
    #[must_use]
    pub fn has(&self, is_wanted: impl Fn(&UserRole) -> bool) -> bool {
        self.has_joined() && self.roles.iter().any(is_wanted)
    }

    /// Whether they may ask for decisions on `stage`.
    #[must_use]
    pub fn decides(&self, stage: Stage) -> bool {
        self.has(|role| match role {
            UserRole::Administrator => true,
            UserRole::Approver(own) => *own == stage,
            _ => false,
        })
    }

    /// Whether they may let nodes in and out at `site`.
    #[must_use]
    pub fn administers(&self, site: &Site) -> bool {
        self.has(|role| match role {
            UserRole::Administrator => true,
            UserRole::SiteAdministrator(own) => site.is_within(own),
            _ => false,
        })
    }
}

/// Why a person was not let in or out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name belongs to somebody who was not shut out.
    #[error("the name {0} is taken; choose another, or revoke that user first")]
    NameTaken(UserName),
    /// Nobody of that name.
    #[error("there is no user {0}; `patchmesh user list` lists them")]
    Unknown(UserName),
    /// Somebody who may do nothing.
    #[error("user {0} would have no role; name at least one")]
    NoRole(UserName),
    /// More roles than anybody needs.
    #[error("user {0} would have more than {MAX_ROLES} roles")]
    TooManyRoles(UserName),
    /// More people than the mesh document has room for.
    #[error("a mesh has at most {MAX_USERS} users")]
    TooMany,
    /// Joining without an invitation.
    #[error("user {name} cannot join: they {state}; invite them first")]
    NotInvited {
        /// Who.
        name: UserName,
        /// What they are instead, as a clause.
        state: &'static str,
    },
    /// Shutting out twice.
    #[error("user {0} is revoked already")]
    AlreadyRevoked(UserName),
    /// One key for two people: they would count as two signers.
    #[error("the signing key of user {name} is that of user {other} already")]
    KeyTaken {
        /// Who brings it.
        name: UserName,
        /// Whose it is.
        other: UserName,
    },
}

impl Mesh {
    /// Reserves a name for a person yet to join. A revoked name may be
    /// invited again.
    ///
    /// # Errors
    /// Why not.
    pub fn invite_user(
        &self,
        name: UserName,
        roles: BTreeSet<UserRole>,
    ) -> Result<Self, Rejection> {
        if self.users.get(&name).is_some_and(|user| user.membership != Membership::Revoked) {
            return Err(Rejection::NameTaken(name));
        }
        if roles.is_empty() {
            return Err(Rejection::NoRole(name));
        }
        if roles.len() > MAX_ROLES {
            return Err(Rejection::TooManyRoles(name));
        }
        if self.users.len() >= MAX_USERS && !self.users.contains_key(&name) {
            return Err(Rejection::TooMany);
        }
        Ok(self.with_user(User { name, roles, membership: Membership::Invited, signing_key: None }))
    }

    /// Lets in the holder of `key`, who signs with `signing_key`.
    ///
    /// # Errors
    /// Why not.
    pub fn join_user(
        &self,
        name: &UserName,
        key: Sha256,
        signing_key: [u8; 32],
    ) -> Result<Self, Rejection> {
        let user = self.users.get(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        let state = match user.membership {
            Membership::Invited => None,
            Membership::Joined(_) => Some("have joined already"),
            Membership::Revoked => Some("were revoked"),
        };
        if let Some(state) = state {
            return Err(Rejection::NotInvited { name: name.clone(), state });
        }
        if let Some(other) = self.signer(&signing_key) {
            let (name, other) = (name.clone(), other.name.clone());
            return Err(Rejection::KeyTaken { name, other });
        }
        let membership = Membership::Joined(key);
        Ok(self.with_user(User { membership, signing_key: Some(signing_key), ..user.clone() }))
    }

    /// Shuts a person out. Their signing key stays on record, so that what it
    /// signs is known for theirs and refused.
    ///
    /// # Errors
    /// Why not.
    pub fn revoke_user(&self, name: &UserName) -> Result<Self, Rejection> {
        let user = self.users.get(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        if user.membership == Membership::Revoked {
            return Err(Rejection::AlreadyRevoked(name.clone()));
        }
        Ok(self.with_user(User { membership: Membership::Revoked, ..user.clone() }))
    }

    /// Whose signing key this is, revoked or not.
    #[must_use]
    pub fn signer(&self, signing_key: &[u8]) -> Option<&User> {
        self.users.values().find(|user| {
            user.signing_key.as_ref().is_some_and(|known| known.as_slice() == signing_key)
        })
    }

    /// The nodes of `site` and below.
    pub fn nodes_within<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(|node| node.site.is_within(site))
    }

    fn with_user(&self, user: User) -> Self {
        let mut mesh = self.clone();
        mesh.users.insert(user.name.clone(), user);
        mesh
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mesh() -> Mesh {
        Mesh::found(
            "m1".to_owned(),
            "ACME".to_owned(),
            "hq".parse().unwrap(),
            "emea".parse().unwrap(),
            "https://hq.example".to_owned(),
            Sha256::from_bytes([9; 32]),
        )
        .unwrap()
    }

    fn roles(texts: &[&str]) -> BTreeSet<UserRole> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn roles_are_written_as_they_are_read() {
        for text in [
            "administrator",
            "security",
            "approver:production",
            "operator",
            "site-administrator:emea/fr",
            "auditor",
        ] {
            assert_eq!(text.parse::<UserRole>().unwrap().to_string(), text);
        }
        for text in ["", "emperor", "approver", "approver:lab", "site-administrator:", "auditor:x"]
        {
            assert!(
                text.parse::<UserRole>().unwrap_err().to_string().contains("auditor"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_person_is_invited_joins_and_is_shut_out() {
        let (alice, key) = ("alice".parse::<UserName>().unwrap(), Sha256::from_bytes([1; 32]));
        let mesh = mesh();
        assert!(mesh.join_user(&alice, key, [1; 32]).is_err());
        let refused = mesh.invite_user(alice.clone(), BTreeSet::new());
        assert_eq!(refused.unwrap_err(), Rejection::NoRole(alice.clone()));
        let mesh = mesh.invite_user(alice.clone(), roles(&["approver:production"])).unwrap();
        assert!(!mesh.users[&alice].decides(Stage::Production), "not before they joined");
        let again = mesh.invite_user(alice.clone(), roles(&["auditor"]));
        assert_eq!(again.unwrap_err(), Rejection::NameTaken(alice.clone()));
        let mesh = mesh.join_user(&alice, key, [1; 32]).unwrap();
        assert!(mesh.users[&alice].decides(Stage::Production));
        assert!(!mesh.users[&alice].decides(Stage::Validation));
        assert!(mesh.join_user(&alice, key, [1; 32]).is_err());

        let bob: UserName = "bob".parse().unwrap();
        let mesh = mesh.invite_user(bob.clone(), roles(&["auditor"])).unwrap();
        let stolen = mesh.join_user(&bob, Sha256::from_bytes([2; 32]), [1; 32]);
        assert!(matches!(stolen, Err(Rejection::KeyTaken { .. })));

        let mesh = mesh.revoke_user(&alice).unwrap();
        assert!(!mesh.users[&alice].decides(Stage::Production));
        assert_eq!(mesh.signer(&[1; 32]).unwrap().name, alice, "the key stays known");
        assert!(mesh.revoke_user(&alice).is_err());
        mesh.invite_user(alice, roles(&["auditor"])).unwrap();
    }

    #[test]
    fn a_site_administrator_acts_on_their_subtree() {
        let name: UserName = "carol".parse().unwrap();
        let mut user = User::administrator(name, Sha256::from_bytes([3; 32]));
        let site = |text: &str| text.parse::<Site>().unwrap();
        assert!(user.administers(&site("apac")));
        user.roles = roles(&["site-administrator:emea/fr", "auditor"]);
        assert!(user.administers(&site("emea/fr")));
        assert!(user.administers(&site("emea/fr/lyon")));
        assert!(!user.administers(&site("emea")));
        assert!(!user.administers(&site("emea/france")));
    }
}
