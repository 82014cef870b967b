//! The lines of a mesh: each profile belongs to the node below.

use super::profile::{self, Profile};
use crate::name::NodeName;
use crate::node::{Mesh, Role};

/// Why a line was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such node.
    #[error("there is no node {0}; `patchmesh nodes` shows those there are")]
    NoNode(NodeName),
    /// The primary has no parent.
    #[error("{0} is the primary, which has no parent; set the lines of the nodes below it")]
    Primary(NodeName),
    /// Nothing to remove.
    #[error("no profile is set for the line of {0}")]
    NoProfile(NodeName),
    /// A profile that cannot be used.
    #[error(transparent)]
    Profile(#[from] profile::Error),
}

/// Which line traffic between two nodes goes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// The line of this node, one of the two, to those above it.
    Of(NodeName),
    /// Within a site: no line of anybody.
    Local,
}

impl Mesh {
    /// The line between `this` node and `other`: its own where the other is above
    /// it, none within a site, else the other's.
    #[must_use]
    pub fn line(&self, this: &NodeName, other: &NodeName) -> Line {
        if self.above(this).iter().any(|node| node.name == *other) {
            return Line::Of(this.clone());
        }
        let are_siblings = match (self.node(this), self.node(other)) {
            (Some(this), Some(other)) => this.parent == other.parent && this.site == other.site,
            _ => false,
        };
        if are_siblings { Line::Local } else { Line::Of(other.clone()) }
    }

    /// The profile of a node's line; the default where none is set.
    #[must_use]
    pub fn link(&self, name: &NodeName) -> Profile {
        self.links.get(name).cloned().unwrap_or_default()
    }

    /// The mesh with another profile of a node's line.
    ///
    /// # Errors
    /// No such node, or a profile that cannot be used.
    pub fn set_link(&self, name: &NodeName, profile: Profile) -> Result<Self, Rejection> {
        let node = self.node(name).ok_or_else(|| Rejection::NoNode(name.clone()))?;
        if node.role == Role::Primary {
            return Err(Rejection::Primary(name.clone()));
        }
        profile.validate()?;
        let mut mesh = self.clone();
        mesh.links.insert(name.clone(), profile);
        Ok(mesh)
    }

    /// The mesh without a profile for a node's line.
    ///
    /// # Errors
    /// There is none.
    pub fn unset_link(&self, name: &NodeName) -> Result<Self, Rejection> {
        let mut mesh = self.clone();
        match mesh.links.remove(name) {
            Some(_) => Ok(mesh),
            None if self.node(name).is_none() => Err(Rejection::NoNode(name.clone())),
            None => Err(Rejection::NoProfile(name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Profile, Rejection};
    use crate::link::Class;
    use crate::name::NodeName;
    use crate::node::tree::tests::chain;

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    #[test]
    fn a_line_belongs_to_the_node_below() {
        let mut mesh = chain();
        let of = |text| Line::Of(name(text));
        assert_eq!(mesh.line(&name("n01"), &name("n02")), of("n02"));
        assert_eq!(mesh.line(&name("n02"), &name("n01")), of("n02"));
        assert_eq!(mesh.line(&name("n03"), &name("n00")), of("n03"), "a parent of a parent");
        assert_eq!(mesh.line(&name("n02"), &name("n04")), Line::Local);
        mesh.nodes.get_mut(&name("n04")).expect("a node").site = "apac".parse().expect("a site");
        assert_eq!(mesh.line(&name("n02"), &name("n04")), of("n04"), "at another site");
    }

    #[test]
    fn a_profile_is_set_and_removed() {
        let mesh = chain();
        let profile = Profile { ahead: Class::Background, ..Profile::default() };
        let set = mesh.set_link(&name("n02"), profile.clone()).expect("set");
        assert_eq!((set.link(&name("n02")), set.validate()), (profile.clone(), Ok(())));
        assert_eq!(set.unset_link(&name("n02")), Ok(mesh.clone()));
        let none = name("n09");
        assert_eq!(mesh.set_link(&none, profile.clone()), Err(Rejection::NoNode(none.clone())));
        assert_eq!(mesh.unset_link(&none), Err(Rejection::NoNode(none)));
        let primary = name("n00");
        assert_eq!(mesh.set_link(&primary, profile), Err(Rejection::Primary(primary)));
        assert!(matches!(mesh.unset_link(&name("n02")), Err(Rejection::NoProfile(_))));
        let wrong = Profile { ahead: Class::Critical, ..Profile::default() };
        assert!(matches!(mesh.set_link(&name("n02"), wrong), Err(Rejection::Profile(_))));
    }
}
