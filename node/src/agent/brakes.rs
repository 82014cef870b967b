//! What the machine's site holds back, as it is remembered from round to round: a
//! brake holds while no node tells of it, too.

use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::replication as wire;
use patchmesh_topology::rollout::Brakes;
use serde::{Deserialize, Serialize};

/// The brakes of one node's site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Remembered {
    /// Whose.
    pub node: String,
    /// They.
    pub brakes: Vec<Held>,
}

/// One of them; its words are those of the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Held {
    pub name: String,
    pub rollout: String,
    pub update: String,
    pub revision: String,
    pub reason: String,
    pub by: String,
    pub since: Timestamp,
    pub until: Timestamp,
}

impl Remembered {
    /// As `node` tells.
    #[must_use]
    pub fn of(node: &str, brakes: &Brakes) -> Self {
        let held = |(name, brake)| {
            let wire::Brake { name, rollout, update, revision, reason, by, .. } =
                (name, brake).into();
            let (since, until) = (brake.since, brake.until);
            Held { name, rollout, update, revision, reason, by, since, until }
        };
        Self { node: node.to_owned(), brakes: brakes.iter().map(held).collect() }
    }

    /// What is remembered of that node.
    #[must_use]
    pub fn known(&self, node: &str) -> Brakes {
        let held = self.brakes.iter().filter(|_| self.node == node).cloned();
        held.filter_map(|held| wire::Brake::from(held).try_into().ok()).collect()
    }
}

impl From<Held> for wire::Brake {
    fn from(held: Held) -> Self {
        let Held { name, rollout, update, revision, reason, by, since, until } = held;
        let (since, until) = (Some(timestamp_to_wire(since)), Some(timestamp_to_wire(until)));
        Self { name, rollout, update, revision, reason, by, since, until }
    }
}

/// What either knows of one site; of one name, the one that was pulled last.
#[must_use]
pub fn together(mut these: Brakes, those: Brakes) -> Brakes {
    for (name, brake) in those {
        match these.get(&name) {
            Some(known) if known.since >= brake.since => {}
            _ => drop(these.insert(name, brake)),
        }
    }
    these
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::rollout::Brake;
    use patchmesh_topology::rollout::brake::Subject;

    use super::*;

    fn brakes(name: &str, subject: Subject, since: i64) -> Brakes {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let (reason, by) = ("stocktaking".to_owned(), "ada".to_owned());
        let brake = Brake { subject, reason, by, since: at(since), until: at(1000) };
        Brakes::from([(name.parse().expect("a name"), brake)])
    }

    #[test]
    fn a_brake_is_remembered_as_it_was_for_its_node_alone() {
        let update = "vendor:stable/nginx".parse().expect("an update");
        for subject in [Subject::All, Subject::Update(update)] {
            let held = brakes("till", subject, 5);
            let kept = serde_json::to_string(&Remembered::of("lyon", &held)).expect("JSON");
            let read: Remembered = serde_json::from_str(&kept).expect("JSON");
            assert_eq!(read.known("lyon"), held);
            assert_eq!(read.known("nice"), Brakes::new());
        }
    }

    #[test]
    fn what_either_knows_holds_and_the_later_of_one_name() {
        let (old, new) = (brakes("till", Subject::All, 5), brakes("till", Subject::All, 9));
        assert_eq!(together(old.clone(), new.clone()), new);
        assert_eq!(together(new.clone(), old), new);
        assert_eq!(together(new, brakes("printer", Subject::All, 1)).len(), 2);
    }
}
