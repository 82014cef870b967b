//! Who is asked in a round: the machine's own node, or else those above it, which stand in
//! for it; the machine's site is that of its own node either way. Its own node is the one
//! that it joined at, or one of the site where it is by its address.

use jiff::Timestamp;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Node};
use patchmesh_topology::rollout::Brakes;

use super::{Agent, Error};
use crate::agent::brakes::{Remembered, together};
use crate::agent::chain::{Chain, Follower};
use crate::agent::documents::Documents;
use crate::agent::link::Link;
use crate::agent::nearest;
use crate::agent::state::KnownNode;
use crate::identity::files::Identity;
use crate::log::in_one_line;
use crate::transport::address::NodeUrl;
use crate::tuf::FolderStorage;

impl From<&Node> for KnownNode {
    fn from(node: &Node) -> Self {
        Self { node: node.name.to_string(), url: node.url.clone() }
    }
}

/// Who stands in for `home` by the signed mesh: the same node where it is somewhere else
/// now, and those above it, the nearest first.
pub(super) fn stand_ins(mesh: &Mesh, home: &Link) -> Vec<KnownNode> {
    let same = mesh.nodes.get(home.node()).into_iter();
    let nodes = same.chain(mesh.ancestors(home.node()));
    let joined = nodes.filter(|node| node.is_joined());
    joined.map(KnownNode::from).filter(|known| !home.leads_to(known)).collect()
}

fn parsed(known: &KnownNode) -> Result<(NodeName, NodeUrl), Error> {
    let node = known.node.parse().map_err(|_| Error::Name("node"))?;
    Ok((node, known.url.parse().map_err(|_| Error::Name("node_url"))?))
}

/// To the machine's own node.
///
/// # Errors
/// A name, URL or certificate that cannot be used.
pub fn link_home(identity: &Identity, own: &KnownNode) -> Result<Link, Error> {
    let (node, url) = parsed(own)?;
    Ok(Link::new(identity, node, url)?)
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
    /// above it that serves what is to be trusted; where it is at another site by its
    /// address, from a node there. The rest of the round is with that one.
    pub(super) async fn follow(
        &mut self,
        documents: &Documents,
        now: Timestamp,
    ) -> Result<Chain, Error> {
        let followed = self.follow_home(documents, now).await;
        let held;
        let known = match &followed {
            Ok(chain) => chain,
            Err(error) if error.is_withheld() => {
                let Ok(chain) = self.follower(documents, now)?.held().await else {
                    return followed;
                };
                held = chain;
                &held
            }
            Err(_) => return followed,
        };
        for nearer in self.nearer(known).await {
            let link = self.link_to(&nearer)?;
            match self.follower(documents, now)?.follow(&link).await {
                Ok(chain) => {
                    tracing::info!(node = nearer.node, "this machine has another node from now on");
                    self.settle(nearer, link)?;
                    return Ok(chain);
                }
                Err(error) => {
                    let (why, node) = (in_one_line(&error), nearer.node);
                    tracing::warn!(why, node, "a node that is nearer is of no use now");
                }
            }
        }
        followed
    }

    /// The same from the machine's own node or one above it.
    async fn follow_home(&mut self, documents: &Documents, now: Timestamp) -> Result<Chain, Error> {
        (self.link, self.memory.at) = (self.home.clone(), None);
        let of_home = match self.follower(documents, now)?.follow(&self.link).await {
            Err(error) if error.is_withheld() => error,
            other => return other.map_err(|error| Box::new(error).into()),
        };
        for known in self.memory.stand_ins.clone() {
            let link = self.link_to(&known)?;
            let node = known.node.clone();
            match self.follower(documents, now)?.follow(&link).await {
                Ok(chain) if node == self.home.node().as_str() => {
                    self.settle(known, link)?;
                    return Ok(chain);
                }
                Ok(chain) => {
                    let why = in_one_line(&of_home);
                    tracing::warn!(why, node, "another node stands in for this machine's");
                    (self.memory.at, self.stand_in) = (Some(node), Some(link.clone()));
                    self.link = link;
                    return Ok(chain);
                }
                Err(error) if error.is_withheld() => {
                    tracing::warn!(why = in_one_line(&error), node, "nor does it help");
                }
                Err(error) => return Err(Box::new(error).into()),
            }
        }
        Err(Box::new(of_home).into())
    }

    /// Nodes of where the machine is that are reached, the nearest first; none where its
    /// own node is one of that site. Where nobody knows where it is, its own is the one
    /// that it joined at.
    async fn nearer(&self, chain: &Chain) -> Vec<KnownNode> {
        let mesh = &chain.mesh;
        let addresses = match mesh.networks.is_empty() {
            true => Vec::new(),
            false => nearest::addresses(self.home.url()).await,
        };
        let site = addresses.into_iter().find_map(|address| mesh.site_at(address));
        let mut nodes =
            site.map_or_else(Vec::new, |site| mesh.nearest(site, chain.approvals.stage));
        if nodes.is_empty() {
            let joined_at = self.joined.node.parse().ok();
            nodes.extend(joined_at.and_then(|name: NodeName| mesh.nodes.get(&name)));
        }
        if nodes.iter().any(|node| node.name == *self.home.node()) {
            return Vec::new();
        }
        nearest::by_distance(&nodes.into_iter().map(KnownNode::from).collect::<Vec<_>>()).await
    }

    /// Makes the node that was just followed the machine's own.
    fn settle(&mut self, own: KnownNode, link: Link) -> Result<(), Error> {
        (self.home, self.link) = (link.clone(), link);
        (self.memory.at, self.stand_in) = (None, None);
        self.memory.home = (own != self.joined.at()).then_some(own);
        Ok(self.state.save_memory(&self.memory)?)
    }

    /// To another node; the connection of the round before goes on.
    pub(super) fn link_to(&self, known: &KnownNode) -> Result<Link, Error> {
        if let Some(link) = self.stand_in.as_ref().filter(|link| link.leads_to(known)) {
            return Ok(link.clone());
        }
        let (node, url) = parsed(known)?;
        Ok(self.home.to(&self.identity, node, url)?)
    }

    /// What the site of the machine's own node holds back, as that one tells; where
    /// another one is asked, what it heard of it and what is remembered, together.
    pub(super) async fn look_for_brakes(&mut self) -> Result<Brakes, Error> {
        let (known, at) = (self.memory.brakes.known(self.home.node().as_str()), &self.memory.at);
        if self.memory.cut_off.is_some() {
            return Ok(known);
        }
        let told = self.link.brakes(at.as_ref().map(|_| self.home.node())).await?;
        let held = if at.is_some() { together(known, told) } else { told };
        let remembered = Remembered::of(self.home.node().as_str(), &held);
        if self.memory.brakes != remembered {
            self.memory.brakes = remembered;
            self.state.save_memory(&self.memory)?;
        }
        Ok(held)
    }
}
