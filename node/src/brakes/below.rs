//! What the nodes below this one hold back, as they last said, kept on disk: whoever
//! stands in for one of them keeps to its brakes, also after a restart of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Memory, PoisonError};

use patchmesh_proto::replication::{Brake, NodeStatus};
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;
use tokio::sync::Mutex;

use crate::replicate::status::Statuses;
use crate::store::{self, Store, Table, Tag};

/// Of each node that has brakes: its name, its brakes and when it said so.
static BELOW: Table<str, NodeStatus> = Table::new(Tag::BrakeBelow, 1);

/// The brakes of the nodes below; cheap to clone. Bounded as [`Statuses`] are.
#[derive(Debug, Clone)]
pub struct Below {
    store: Store,
    held: Arc<Memory<BTreeMap<NodeName, NodeStatus>>>,
    /// One change at a time.
    turn: Arc<Mutex<()>>,
}

impl Below {
    /// Goes on with what was known when the node ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: &Store) -> Result<Self, store::Error> {
        let kept = store.scan(&BELOW)?.into_iter();
        let held = kept.filter_map(|(name, said)| Some((name.parse().ok()?, said))).collect();
        Ok(Self { store: store.clone(), held: Arc::new(Memory::new(held)), turn: Arc::default() })
    }

    /// What a node holds back, as far as it was heard.
    #[must_use]
    pub fn of(&self, name: &NodeName) -> Vec<Brake> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(name).map(|said| said.brakes.clone()).unwrap_or_default()
    }

    /// Keeps what these nodes hold back by their last words, and forgets whoever is not
    /// in the mesh any more.
    ///
    /// # Errors
    /// The store's; it is as before then.
    pub async fn keep(
        &self,
        mesh: &Mesh,
        names: &[NodeName],
        statuses: &Statuses,
    ) -> Result<(), store::Error> {
        let _turn = self.turn.lock().await;
        let changed = self.changed(mesh, names, statuses);
        if changed.is_empty() {
            return Ok(());
        }
        let written = changed.clone();
        let write = move |store: &Store| {
            let mut transaction = store.transaction();
            for (name, said) in &written {
                match said {
                    Some(said) => transaction.put(&BELOW, name.as_str(), said),
                    None => transaction.delete(&BELOW, name.as_str()),
                };
            }
            transaction.commit()
        };
        self.store.run(write).await?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, said) in changed {
            match said {
                Some(said) => drop(held.insert(name, said)),
                None => drop(held.remove(&name)),
            }
        }
        Ok(())
    }

    /// What is not as it is kept; `None` is to be forgotten.
    fn changed(
        &self,
        mesh: &Mesh,
        names: &[NodeName],
        statuses: &Statuses,
    ) -> BTreeMap<NodeName, Option<NodeStatus>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = held.keys().filter(|name| !mesh.nodes.contains_key(*name));
        let gone = gone.map(|name| (name.clone(), None));
        let said = names.iter().filter_map(|name| {
            let NodeStatus { name: text, at, brakes, .. } = statuses.of(name)?;
            let known = held.get(name).map(|known| known.brakes.as_slice()).unwrap_or_default();
            let (is_same, has_some) = (known == brakes, !brakes.is_empty());
            let said = NodeStatus { name: text, at, brakes, ..NodeStatus::default() };
            (!is_same).then(|| (name.clone(), has_some.then_some(said)))
        });
        said.chain(gone).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;
    use patchmesh_proto::convert::timestamp_to_wire;
    use patchmesh_topology::node::Membership;

    use super::*;
    use crate::identity::testing::TestMesh;
    use crate::store::Mode;

    fn named(names: &[&str]) -> Vec<Brake> {
        let brake = |name: &&str| Brake { name: (*name).to_owned(), ..Brake::default() };
        names.iter().map(brake).collect()
    }

    #[tokio::test]
    async fn brakes_of_nodes_below_are_known_after_a_restart_until_the_node_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let invited = Membership::Invited;
        let of = |nodes: &[(&str, Option<&str>, Membership)]| TestMesh::new().mesh(nodes);
        let mesh = of(&[
            ("hq", None, invited),
            ("lyon", Some("hq"), invited),
            ("nice", Some("hq"), invited),
        ]);
        let names: [NodeName; 2] = ["lyon".parse().unwrap(), "nice".parse().unwrap()];
        let statuses = Statuses::default();
        let (mut second, start) = (0, Timestamp::UNIX_EPOCH);
        let mut say = |name: &NodeName, brakes: &[&str]| {
            second += 1;
            let at = start + jiff::SignedDuration::from_secs(second);
            let (text, at_wire) = (name.to_string(), Some(timestamp_to_wire(at)));
            let brakes = named(brakes);
            let said = NodeStatus { name: text, at: at_wire, brakes, ..NodeStatus::default() };
            statuses.accept(&mesh, name, vec![said], at).unwrap();
        };

        let store = Store::open(&path, Mode::Create).unwrap();
        let below = Below::open(&store).unwrap();
        say(&names[0], &["till"]);
        say(&names[1], &["printer", "till"]);
        below.keep(&mesh, &names, &statuses).await.unwrap();
        say(&names[1], &[]);
        below.keep(&mesh, &names[1..], &statuses).await.unwrap();
        drop((store, below));

        let store = Store::open(&path, Mode::Existing).unwrap();
        let below = Below::open(&store).unwrap();
        assert_eq!(below.of(&names[0]), named(&["till"]));
        assert_eq!(below.of(&names[1]), []);
        let without = of(&[("hq", None, invited)]);
        below.keep(&without, &[], &statuses).await.unwrap();
        assert_eq!(below.of(&names[0]), []);
    }
}
