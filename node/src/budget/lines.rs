//! Which line traffic with another node goes over, and what holds on it now.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::link::Class;
use patchmesh_topology::link::mesh::Line;
use patchmesh_topology::link::profile::{InForce, Profile, Way};
use patchmesh_topology::link::queue::Terms;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Budget, Direction};

/// How often the clock is looked at where something hangs on it: what a schedule
/// says is in force within a second, also when the clock was set.
const LOOK: Duration = Duration::from_millis(250);

/// A node's place among the lines of its mesh.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    own: NodeName,
    mesh: Arc<Mesh>,
}

impl Lines {
    /// The name by which the line to `peer` is kept, and whether it is within
    /// the site.
    pub(super) fn to(&self, peer: &NodeName) -> (NodeName, bool) {
        match self.mesh.line(&self.own, peer) {
            Line::Of(node) => (node, false),
            Line::Local => (peer.clone(), true),
        }
    }

    /// This node.
    pub(super) const fn own(&self) -> &NodeName {
        &self.own
    }

    /// The profile of a line.
    pub(super) fn profile(&self, line: &NodeName) -> Profile {
        self.mesh.link(line)
    }

    /// Whether a line is one within the site.
    pub(super) fn is_local(&self, line: &NodeName) -> bool {
        *line != self.own && self.to(line).1
    }

    /// Which way of a line bytes go that this node sends or takes.
    pub(super) fn way(&self, line: &NodeName, direction: Direction) -> Way {
        match (*line == self.own, direction) {
            (true, Direction::In) | (false, Direction::Out) => Way::Down,
            (true, Direction::Out) | (false, Direction::In) => Way::Up,
        }
    }

    /// What holds on a line at an instant.
    pub(super) fn terms(
        &self,
        line: &NodeName,
        is_local: bool,
        direction: Direction,
        now: Timestamp,
    ) -> Terms {
        if is_local {
            return Terms { is_local, ..Terms::default() };
        }
        let Some(profile) = self.mesh.links.get(line) else { return Terms::default() };
        let holds: InForce = profile.at(now);
        Terms {
            rate: holds.way(self.way(line, direction)).rate,
            bulk_open: profile.admits(Class::Normal, &holds),
            critical_open: profile.admits(Class::Critical, &holds),
            is_local,
        }
    }

    /// Whether anything hangs on the time.
    fn is_constant(&self) -> bool {
        self.mesh.links.values().all(Profile::is_constant)
    }
}

/// Puts the lines of the mesh document in force at once, and keeps them in step
/// with it and with the clock for as long as the future runs.
pub fn follow(
    budget: Budget,
    own: NodeName,
    mut meshes: watch::Receiver<Arc<Mesh>>,
) -> impl Future<Output = ()> {
    let mut is_constant = budget.put_in_force(&own, &mut meshes);
    async move {
        loop {
            tokio::select! {
                changed = meshes.changed() => match changed {
                    Ok(()) => is_constant = budget.put_in_force(&own, &mut meshes),
                    // The node ends.
                    Err(_) => return,
                },
                () = sleep(LOOK), if !is_constant => budget.apply(),
            }
        }
    }
}

impl Budget {
    /// Says whether it stays like that until there is another document.
    fn put_in_force(&self, own: &NodeName, meshes: &mut watch::Receiver<Arc<Mesh>>) -> bool {
        let lines = Lines { own: own.clone(), mesh: meshes.borrow_and_update().clone() };
        let is_constant = lines.is_constant();
        self.set_lines(lines);
        is_constant
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::digest::Sha256;
    use patchmesh_topology::link::profile::{Limits, Rule};
    use patchmesh_topology::link::rate::Rate;
    use patchmesh_topology::node::Role;
    use patchmesh_topology::node::membership::Invitation;

    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().expect("a name")
    }

    fn rate(text: &str) -> Rate {
        text.parse().expect("a rate")
    }

    /// hq with hub below, lyon and paris at one site below that.
    fn lines(own: &str) -> Lines {
        let key = |number| Sha256::from_bytes([number; 32]);
        let url = |name: &str| format!("https://{name}.example");
        let site = |text: &str| text.parse().expect("a site");
        let mut mesh = Mesh::found(
            "5f1c".into(),
            "Example".into(),
            name("hq"),
            site("emea"),
            url("hq"),
            key(0),
        )
        .expect("a mesh");
        for (number, (node, parent, at)) in (1..).zip([
            ("hub", "hq", "emea/fr"),
            ("lyon", "hub", "emea/fr/x"),
            ("paris", "hub", "emea/fr/x"),
        ]) {
            let (name, parent) = (name(node), name(parent));
            let invitation = Invitation {
                name: name.clone(),
                role: Role::Branch,
                parent,
                site: site(at),
                stages: None,
            };
            mesh = mesh.invite(invitation).expect("invited");
            mesh = mesh.join(&name, key(number), url(node)).expect("joined");
        }
        let hours = "Mon-Fri 08:00-18:00".parse().expect("hours");
        let profile = Profile {
            down: Limits {
                default: rate("10Mbit/s"),
                rules: vec![Rule { hours, rate: rate("2Mbit/s") }],
            },
            up: Limits { default: rate("1Mbit/s"), rules: Vec::new() },
            bulk: vec!["18:00-08:00".parse().expect("hours")],
            ..Profile::default()
        };
        let mesh = Arc::new(mesh.set_link(&name("lyon"), profile).expect("set"));
        Lines { own: name(own), mesh }
    }

    #[test]
    fn both_ends_of_a_line_hold_the_same() {
        let noon = "2026-11-25T12:00:00Z".parse().expect("a time");
        let night = "2026-11-25T20:00:00Z".parse().expect("a time");
        let (below, above) = (lines("lyon"), lines("hub"));
        assert_eq!(below.to(&name("hub")), (name("lyon"), false));
        assert_eq!(below.to(&name("hq")), (name("lyon"), false), "a parent's parent too");
        assert_eq!(above.to(&name("lyon")), (name("lyon"), false));
        assert_eq!(below.to(&name("paris")), (name("paris"), true));
        assert!(below.is_local(&name("paris")) && !below.is_local(&name("lyon")));
        for (lines, down, up) in
            [(&below, Direction::In, Direction::Out), (&above, Direction::Out, Direction::In)]
        {
            let terms = |direction, at| lines.terms(&name("lyon"), false, direction, at);
            assert_eq!(terms(down, noon).rate, rate("2Mbit/s"));
            assert_eq!(terms(down, night).rate, rate("10Mbit/s"));
            assert_eq!(terms(up, noon).rate, rate("1Mbit/s"));
            assert!(!terms(down, noon).bulk_open && terms(down, noon).critical_open);
            assert!(terms(down, night).bulk_open);
        }
        let local = below.terms(&name("paris"), true, Direction::In, noon);
        assert!(local.is_local && local.rate.is_unlimited());
    }
}
