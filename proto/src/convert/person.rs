//! People.

use std::collections::BTreeSet;

use patchmesh_topology::node::Membership;
use patchmesh_topology::person::{User, UserRole};

use super::mesh::{membership, stage};
use super::{At, Error, Fault, sha256, sha256_to_wire};
use crate::wire::{self, UserRoleKind};

/// The roles of a person; one that comes twice counts once.
///
/// # Errors
/// An entry is none.
pub fn user_roles(values: Vec<wire::UserRole>) -> Result<BTreeSet<UserRole>, Error> {
    let role = |(index, value)| UserRole::try_from(value).at(&format!("[{index}]"));
    values.into_iter().enumerate().map(role).collect()
}

impl TryFrom<wire::UserRole> for UserRole {
    type Error = Error;

    fn try_from(value: wire::UserRole) -> Result<Self, Error> {
        let kind = UserRoleKind::try_from(value.kind)
            .map_err(|_| Fault::Word { kind: "role of a person", value: value.kind })
            .at("kind")?;
        if kind != UserRoleKind::Approver && value.stage != 0 {
            return Err(Fault::Contradiction("the kind")).at("stage");
        }
        if kind != UserRoleKind::SiteAdministrator && !value.site.is_empty() {
            return Err(Fault::Contradiction("the kind")).at("site");
        }
        Ok(match kind {
            UserRoleKind::Unspecified => return Err(Fault::Missing).at("kind"),
            UserRoleKind::Administrator => Self::Administrator,
            UserRoleKind::Security => Self::Security,
            UserRoleKind::Approver => Self::Approver(stage(value.stage).at("stage")?),
            UserRoleKind::Operator => Self::Operator,
            UserRoleKind::SiteAdministrator => {
                Self::SiteAdministrator(value.site.parse().at("site")?)
            }
            UserRoleKind::Auditor => Self::Auditor,
        })
    }
}

impl From<&UserRole> for wire::UserRole {
    fn from(role: &UserRole) -> Self {
        let (kind, stage, site) = match role {
            UserRole::Administrator => (UserRoleKind::Administrator, None, None),
            UserRole::Security => (UserRoleKind::Security, None, None),
            UserRole::Approver(stage) => (UserRoleKind::Approver, Some(*stage), None),
            UserRole::Operator => (UserRoleKind::Operator, None, None),
            UserRole::SiteAdministrator(site) => {
                (UserRoleKind::SiteAdministrator, None, Some(site))
            }
            UserRole::Auditor => (UserRoleKind::Auditor, None, None),
        };
        Self {
            kind: kind.into(),
            stage: stage.map_or(wire::Stage::Unspecified, wire::Stage::from).into(),
            site: site.map(ToString::to_string).unwrap_or_default(),
        }
    }
}

impl TryFrom<wire::User> for User {
    type Error = Error;

    fn try_from(value: wire::User) -> Result<Self, Error> {
        let name = value.name.parse().at("name")?;
        if value.membership == 0 && value.roles.is_empty() {
            let key = sha256(&value.key_sha256).at("key_sha256")?;
            return Ok(Self::administrator(name, key));
        }
        let signing_key = (!value.signing_key.is_empty())
            .then(|| sha256(&value.signing_key).map(|key| *key.as_bytes()))
            .transpose();
        Ok(Self {
            name,
            roles: user_roles(value.roles).at("roles")?,
            membership: membership(value.membership, &value.key_sha256)?,
            signing_key: signing_key.at("signing_key")?,
        })
    }
}

impl From<&User> for wire::User {
    fn from(user: &User) -> Self {
        let (membership, key_sha256) = match &user.membership {
            Membership::Invited => (wire::Membership::Invited, Default::default()),
            Membership::Joined(key) => (wire::Membership::Joined, sha256_to_wire(key)),
            Membership::Revoked => (wire::Membership::Revoked, Default::default()),
        };
        let signing_key = user.signing_key.map(|key| key.to_vec().into());
        Self {
            name: user.name.to_string(),
            key_sha256,
            membership: membership.into(),
            roles: user.roles.iter().map(wire::UserRole::from).collect(),
            signing_key: signing_key.unwrap_or_default(),
        }
    }
}
