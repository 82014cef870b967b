//! Who is asked in a round: the machine's own node, or else those above it. The
//! machine stays where it is: its site is that of its own node.

use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Membership, Mesh, Node};
use patchmesh_topology::rollout::Brakes;

use super::{Agent, Error};
use crate::agent::brakes::{Remembered, together};
use crate::agent::chain::{Chain, Follower};
use crate::agent::documents::Documents;
use crate::agent::state::KnownNode;
use crate::log::in_one_line;
use crate::tuf::FolderStorage;

impl From<&Node> for KnownNode {
    fn from(node: &Node) -> Self {
        Self { node: node.name.to_string(), url: node.url.clone() }
    }
}

/// Who stands in for `home`, which the machine knows at `url`, by the signed mesh: the
/// same node where it has moved, and those above it, the nearest first.
pub(super) fn stand_ins(mesh: &Mesh, home: &NodeName, url: &str) -> Vec<KnownNode> {
    let moved = mesh.nodes.get(home).filter(|node| node.url != url);
    let nodes = moved.into_iter().chain(mesh.ancestors(home));
    let joined = nodes.filter(|node| matches!(node.membership, Membership::Joined(_)));
    joined.map(KnownNode::from).collect()
}

impl Agent {
    /// Whether the last round was with another node than the machine's own.
    #[must_use]
    pub fn has_stand_in(&self) -> bool {
        self.memory.at.is_some()
    }

    pub(super) fn follower<'a>(
        &'a self,
        documents: &'a Documents,
        now: Timestamp,
    ) -> Result<Follower<'a>, Error> {
        Ok(Follower {
            storage: FolderStorage::new(self.state.part("tuf")?),
            documents,
            group: &self.group,
            known_epoch: self.memory.mesh_epoch,
            now,
        })
    }

    /// What headquarters signed, from the machine's own node, or else from the first one
    /// above it that serves what is to be trusted. The rest of the round is with that one.
    pub(super) async fn follow(
        &mut self,
        documents: &Documents,
        now: Timestamp,
    ) -> Result<Chain, Error> {
        self.memory.at = None;
        let of_home = match self.follow_at(documents, now, None).await {
            Err(error) if error.is_withheld() => error,
            other => return other,
        };
        for stand_in in self.memory.stand_ins.clone() {
            match self.follow_at(documents, now, Some(&stand_in)).await {
                Ok(chain) => {
                    let (why, node) = (in_one_line(&of_home), &stand_in.node);
                    tracing::warn!(why, node, "another node stands in for this machine's");
                    self.memory.at = Some(stand_in.node);
                    return Ok(chain);
                }
                Err(error) if error.is_withheld() => {
                    tracing::warn!(
                        why = in_one_line(&error),
                        node = stand_in.node,
                        "nor does it help"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        self.link = self.home.clone();
        Err(of_home)
    }

    /// The same from one node: that one, or the machine's own.
    async fn follow_at(
        &mut self,
        documents: &Documents,
        now: Timestamp,
        stand_in: Option<&KnownNode>,
    ) -> Result<Chain, Error> {
        match stand_in {
            None => self.link = self.home.clone(),
            // The connection of the round before goes on.
            Some(known) if self.stand_in.as_ref().is_some_and(|link| link.leads_to(known)) => {
                self.link.clone_from(self.stand_in.as_ref().unwrap_or(&self.home));
            }
            Some(KnownNode { node, url }) => {
                let name = node.parse().map_err(|_| Error::Name("stand_ins"))?;
                let url = url.parse().map_err(|_| Error::Name("stand_ins"))?;
                self.link = self.home.to(&self.identity, name, url)?;
                self.stand_in = Some(self.link.clone());
            }
        }
        let followed = self.follower(documents, now)?.follow(&self.link).await;
        followed.map_err(|error| Box::new(error).into())
    }

    /// What the site of the machine's own node holds back, as that one tells; where
    /// another one is asked, what it heard of it and what is remembered, together.
    pub(super) async fn look_for_brakes(&mut self) -> Result<Brakes, Error> {
        let (known, at) = (self.memory.brakes.known(self.node.as_str()), &self.memory.at);
        if self.memory.cut_off.is_some() {
            return Ok(known);
        }
        let told = self.link.brakes(at.as_ref().map(|_| &self.node)).await?;
        let held = if at.is_some() { together(known, told) } else { told };
        let remembered = Remembered::of(self.node.as_str(), &held);
        if self.memory.brakes != remembered {
            self.memory.brakes = remembered;
            self.state.save_memory(&self.memory)?;
        }
        Ok(held)
    }
}
