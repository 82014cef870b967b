//! Slots of machines that restart: listing, and taking one away.

use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::reboot_locks_server::RebootLocks;
use patchmesh_topology::name::MachineName;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::status::{field, internal};
use crate::identity::peer::Peer;
use crate::reboots::to_wire;

/// Over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Of this node.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl RebootLocks for Service {
    async fn list_reboot_slots(
        &self,
        _: Request<wire::ListRebootSlotsRequest>,
    ) -> Result<Response<wire::ListRebootSlotsResponse>, Status> {
        let held = self.node.reboots.held();
        let slots = held.iter().map(|(machine, slot)| to_wire(machine, slot)).collect();
        Ok(Response::new(wire::ListRebootSlotsResponse { slots }))
    }

    async fn release_reboot_slot(
        &self,
        request: Request<wire::ReleaseRebootSlotRequest>,
    ) -> Result<Response<wire::ReleaseRebootSlotResponse>, Status> {
        self.node.check_own_site(&Peer::of(&request))?;
        let machine: MachineName =
            request.into_inner().machine.parse().map_err(|error| field("machine", &error))?;
        let released = self.node.reboots.release(&machine).await;
        match released.map_err(|error| internal(&error))? {
            true => Ok(Response::new(wire::ReleaseRebootSlotResponse {})),
            false => Err(Status::not_found(format!(
                "machine {machine} has no slot at {}; `patchmesh reboot-lock list` shows those there are",
                self.node.name
            ))),
        }
    }
}
