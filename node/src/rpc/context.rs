//! The handles that services work with. Cheap to clone; made once, by the
//! daemon.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::replication::NodeStatus;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Mesh;

use super::rights::check_site;
use super::status::{Refusal, published};
use crate::alerts::Alerts;
use crate::assess::feeds::Feeds;
use crate::brakes::Brakes;
use crate::brakes::below::Below;
use crate::content::Content;
use crate::generation::{Current, Generation};
use crate::identity::peer::Peer;
use crate::inventories::Inventories;
use crate::legacy::Legacy;
use crate::primary::payloads::Payloads;
use crate::primary::planned::Plans;
use crate::primary::publisher::Publisher;
use crate::primary::rollouts::Rollouts;
use crate::primary::sources::Sources;
use crate::reboots::Reboots;
use crate::replicate::history::History;
use crate::replicate::own::OwnStatus;
use crate::replicate::status::Statuses;
use crate::reports::ledger::Ledger;
use crate::scrub;
use crate::store::Store;
use crate::view::standing::Board;

/// The running parts of any node.
#[derive(Debug, Clone)]
pub struct Context {
    /// This node.
    pub name: NodeName,
    /// What it knows.
    pub current: Current,
    /// Where it keeps it.
    pub store: Store,
    /// Payloads, held and under way.
    pub content: Content,
    /// What nodes below said of themselves.
    pub statuses: Statuses,
    /// Its last synchronisations.
    pub history: History,
    /// What this node says of itself.
    pub own: OwnStatus,
    /// What is held back at its site.
    pub brakes: Brakes,
    /// What is held back at the sites of nodes below, as they said.
    pub below: Below,
    /// What is on the machines that report here.
    pub inventories: Inventories,
    /// Which of its machines may restart.
    pub reboots: Reboots,
    /// What clients of the predecessor sent here.
    pub legacy: Legacy,
    /// What is wrong at this node.
    pub alerts: Alerts,
    /// How far stored content is read again.
    pub scrub: scrub::Progress,
    /// How long after the timestamp's expiry views stay served.
    pub offline_grace: Duration,
    /// Which views it serves.
    pub board: Board,
    /// The mesh's CA certificate, PEM.
    pub ca_pem: Arc<str>,
    /// The parts that only the primary has.
    pub primary: Option<Primary>,
}

/// The running parts of the primary.
#[derive(Debug, Clone)]
pub struct Primary {
    /// Makes generations.
    pub publisher: Publisher,
    /// SHA-256 of the mesh's CA certificate, for tokens.
    pub ca_sha256: Sha256,
    /// Vendors.
    pub sources: Sources,
    /// When vendors are asked by themselves.
    pub plans: Plans,
    /// Fetches what was approved.
    pub payloads: Payloads,
    /// Takes rollouts on.
    pub rollouts: Rollouts,
    /// What is known of vulnerabilities.
    pub feeds: Feeds,
    /// Machines, and what they reported.
    pub ledger: Ledger,
}

impl Context {
    /// The primary's parts.
    ///
    /// # Errors
    /// `FAILED_PRECONDITION`, naming the primary, at any other node.
    pub fn primary(&self) -> Result<&Primary, tonic::Status> {
        self.primary.as_ref().ok_or_else(|| {
            let generation = self.current.get();
            let primary = generation
                .mesh
                .nodes
                .values()
                .find(|node| node.parent.is_none())
                .map_or_else(String::new, |node| format!(": `{}` at {}", node.name, node.url));
            tonic::Status::failed_precondition(format!(
                "node {} only reads; changes are made at the primary{primary}",
                self.name
            ))
        })
    }

    /// Changes what the mesh document says, at the primary: the generation that says so.
    /// What changes nothing makes no other one.
    ///
    /// # Errors
    /// The refusal's, what publishing came to, or `FAILED_PRECONDITION` at any other node.
    pub async fn change_mesh<R: Refusal>(
        &self,
        change: impl FnOnce(&Mesh) -> Result<Mesh, R> + Send + 'static,
    ) -> Result<Arc<Generation>, tonic::Status> {
        let publisher = &self.primary()?.publisher;
        let publishing = publisher.publish(move |draft| {
            let mesh = change(&draft.mesh)?;
            if mesh != *draft.mesh {
                draft.mesh = Arc::new(mesh);
            }
            Ok::<_, R>(())
        });
        let ((), generation) = publishing.await.map_err(published)?;
        Ok(generation)
    }

    /// Refuses who does not administer this node's site.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, or `FAILED_PRECONDITION` at a node that is no member.
    pub fn check_own_site(&self, peer: &Peer) -> Result<(), tonic::Status> {
        let mesh = &self.generation().mesh;
        match mesh.node(&self.name) {
            Some(own) => check_site(mesh, peer, &own.site),
            None => Err(tonic::Status::failed_precondition("this node is no member of the mesh")),
        }
    }

    /// The generation now.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        self.current.get()
    }

    /// This node's own word now.
    #[must_use]
    pub fn own_status(&self) -> NodeStatus {
        self.own.at(Timestamp::now())
    }
}
