//! Who stands in for the primary, and how one of them takes its place.

use std::collections::BTreeSet;

use super::membership::Rejection;
use super::{Membership, Mesh, Node, Role};
use crate::name::NodeName;
use crate::subscription::Subscription;

impl Mesh {
    /// Whether `name` keeps everything that the primary has, to stand in for
    /// it.
    #[must_use]
    pub fn is_standby(&self, name: &NodeName) -> bool {
        self.standbys.contains(name)
    }

    /// Makes `name` a standby, or no longer. One hangs directly below the
    /// primary, since nobody else has all that it needs.
    ///
    /// # Errors
    /// Why not.
    pub fn set_standby(&self, name: &NodeName, is_standby: bool) -> Result<Self, Rejection> {
        let node = self.node(name).ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
        let mut mesh = self.clone();
        if !is_standby {
            mesh.standbys.remove(name);
            return Ok(mesh);
        }
        let primary = self.primary().map(|primary| &primary.name);
        if node.parent.as_ref() != primary || node.role != Role::Branch {
            return Err(Rejection::NoStandby(name.clone()));
        }
        if node.membership == Membership::Revoked {
            return Err(Rejection::AlreadyRevoked(name.clone()));
        }
        mesh.standbys.insert(name.clone());
        Ok(mesh)
    }

    /// The mesh after `name` took the primary's place: the old primary is
    /// shut out, and what hung below it hangs below `name`. The epoch grows.
    ///
    /// # Errors
    /// Why not.
    pub fn succeed(&self, name: &NodeName) -> Result<Self, Rejection> {
        let node = self.node(name).ok_or_else(|| Rejection::UnknownNode(name.clone()))?;
        if !node.is_joined() {
            return Err(Rejection::ParentNotJoined(name.clone()));
        }
        if node.role != Role::Branch {
            return Err(Rejection::NoStandby(name.clone()));
        }
        let old = self.primary().map(|primary| primary.name.clone());
        let mut mesh = self.clone();
        for node in mesh.nodes.values_mut() {
            if Some(&node.name) == old.as_ref() {
                *node = Node {
                    role: Role::Branch,
                    parent: Some(name.clone()),
                    fallback_parents: Vec::new(),
                    membership: Membership::Revoked,
                    ..node.clone()
                };
            } else if node.name == *name {
                *node = Node {
                    role: Role::Primary,
                    parent: None,
                    fallback_parents: Vec::new(),
                    // A primary carries everything.
                    subscription: Subscription::default(),
                    ..node.clone()
                };
            } else {
                // The same place, under its new name.
                let place = node.parent.iter_mut().chain(&mut node.fallback_parents);
                place.filter(|parent| Some(&**parent) == old.as_ref()).for_each(|parent| {
                    *parent = name.clone();
                });
                let parent = node.parent.clone();
                let mut seen = BTreeSet::new();
                node.fallback_parents
                    .retain(|one| Some(one) != parent.as_ref() && seen.insert(one.clone()));
            }
        }
        mesh.standbys.remove(name);
        // Nobody is above it any more.
        mesh.links.remove(name);
        mesh.epoch += 1;
        mesh.validate().map_err(Rejection::Invalid)?;
        Ok(mesh)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::membership::Invitation;
    use super::*;
    use crate::digest::Sha256;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    fn company() -> Mesh {
        let key = |number: u8| Sha256::from_bytes([number; 32]);
        let site = || "emea".parse().unwrap();
        let url = |name: &str| format!("https://{name}.example");
        let mut mesh =
            Mesh::found("m".into(), "Company".into(), name("hq"), site(), url("hq"), key(0))
                .unwrap();
        let nodes = [
            ("spare", "hq", Role::Branch),
            ("lab", "hq", Role::Validation),
            ("hub", "hq", Role::Branch),
            ("lyon", "hub", Role::Branch),
            ("oslo", "spare", Role::Branch),
        ];
        for (number, (node, parent, role)) in (1..).zip(nodes) {
            let (node, parent) = (name(node), name(parent));
            let invitation =
                Invitation { name: node.clone(), role, parent, site: site(), stages: None };
            mesh = mesh.invite(invitation).unwrap();
            mesh = mesh.join(&node, key(number), url(node.as_str())).unwrap();
        }
        mesh
    }

    #[test]
    fn a_standby_hangs_below_the_primary() {
        let mesh = company();
        let with = mesh.set_standby(&name("spare"), true).unwrap();
        assert!(with.is_standby(&name("spare")) && !mesh.is_standby(&name("spare")));
        for wrong in ["lyon", "lab", "hq"] {
            let refused = mesh.set_standby(&name(wrong), true);
            assert!(matches!(refused, Err(Rejection::NoStandby(_))), "{wrong}");
        }
        assert!(matches!(mesh.set_standby(&name("x"), true), Err(Rejection::UnknownNode(_))));
        assert_eq!(with.set_standby(&name("spare"), false).unwrap(), mesh);
        let shut = with.revoke(&name("spare")).unwrap();
        assert!(!shut.is_standby(&name("spare")));
        let shut = shut.set_standby(&name("spare"), true);
        assert!(matches!(shut, Err(Rejection::AlreadyRevoked(_))));
    }

    #[test]
    fn whoever_succeeds_takes_all_that_hung_below() {
        let mesh = company().set_standby(&name("spare"), true).unwrap();
        let french = Subscription { languages: ["fr".to_owned()].into(), ..Default::default() };
        let mesh = mesh.subscribe_node(&name("spare"), french).unwrap();
        let after = mesh.succeed(&name("spare")).unwrap();
        assert_eq!(after.primary().unwrap().name, name("spare"));
        assert_eq!(after.epoch, mesh.epoch + 1);
        assert_eq!(after.node(&name("hq")).unwrap().membership, Membership::Revoked);
        for (node, parent) in
            [("lab", "spare"), ("hub", "spare"), ("lyon", "hub"), ("oslo", "spare")]
        {
            assert_eq!(after.node(&name(node)).unwrap().parent, Some(name(parent)), "{node}");
            assert!(after.is_connected(&name(node)), "{node}");
        }
        assert!(!after.is_standby(&name("spare")));
        assert!(after.primary().unwrap().subscription.is_everything());
        assert!(matches!(mesh.succeed(&name("lab")), Err(Rejection::NoStandby(_))));
    }

    #[test]
    fn one_below_a_hub_takes_the_hub_along() {
        let after = company().succeed(&name("lyon"));
        // The hub hangs below whoever was below it.
        let after = after.unwrap();
        assert_eq!(after.node(&name("hub")).unwrap().parent, Some(name("lyon")));
    }
}
