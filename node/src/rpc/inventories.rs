//! What is on machines, as they told this node.

use patchmesh_proto::admin as wire;
use patchmesh_topology::name::MachineName;
use tonic::Status;

use super::blocking;
use super::context::Context;
use super::status::field;
use crate::inventories::{Found, Kept, Search};

pub(super) async fn of(node: &Context, name: &str) -> Result<wire::GetInventoryResponse, Status> {
    let machine: MachineName = name.parse().map_err(|error| field("name", &error))?;
    let (inventories, asked) = (node.inventories.clone(), machine.clone());
    let kept = blocking(move || inventories.of(&asked)).await?;
    let Kept { inventory, digest, at } = kept.ok_or_else(|| {
        Status::not_found(format!(
            "this node has no inventory of machine {machine}: ask the node that it reports to"
        ))
    })?;
    Ok(wire::GetInventoryResponse { inventory: Some(inventory), digest: digest.into(), at })
}

pub(super) async fn find(
    node: &Context,
    package: String,
) -> Result<wire::FindPackageResponse, Status> {
    if package.is_empty() {
        return Err(field("name", "is empty; name a package"));
    }
    let inventories = node.inventories.clone();
    let Search { found, is_cut, machines } = blocking(move || inventories.find(&package)).await?;
    let row =
        |Found { machine, package, at }| wire::FoundPackage { machine, package: Some(package), at };
    Ok(wire::FindPackageResponse { found: found.into_iter().map(row).collect(), is_cut, machines })
}
