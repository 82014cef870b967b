//! What a machine needs to use a node.

use patchmesh_proto::{admin as wire, wire as document};
use patchmesh_topology::name::{GroupName, NodeName};
use tonic::Status;

use crate::rpc::context::Context;
use crate::rpc::status::field;
use crate::view::{self, apt};

pub(super) fn client_config(
    node: &Context,
    request: &wire::GetClientConfigRequest,
) -> Result<wire::GetClientConfigResponse, Status> {
    let generation = node.generation();
    let group: GroupName = request.group.parse().map_err(|error| field("group", &error))?;
    let found = generation.mesh.group(&group).ok_or_else(|| {
        let known: Vec<_> = generation.mesh.groups.keys().map(GroupName::as_str).collect();
        Status::not_found(format!("there is no group {group}; there are {}", known.join(", ")))
    })?;
    let name = match request.node.as_str() {
        "" => node.name.clone(),
        name => name.parse::<NodeName>().map_err(|error| field("node", &error))?,
    };
    let server = generation
        .mesh
        .node(&name)
        .ok_or_else(|| Status::not_found(format!("there is no node {name}")))?;
    if !server.stages.contains(&found.stage) {
        let servers =
            generation.mesh.nodes.values().filter(|one| one.stages.contains(&found.stage));
        let names: Vec<_> = servers.map(|one| one.name.as_str()).collect();
        return Err(Status::failed_precondition(format!(
            "node {name} does not serve {}, which group {group} follows; these do: {}",
            found.stage,
            names.join(", ")
        )));
    }
    let views = generation.views_of(found);
    let dists = view::dists(views.flat_map(|(_, one)| one.view().files.keys()));
    let mut architectures: Vec<String> = dists.values().flatten().cloned().collect();
    architectures.sort();
    architectures.dedup();
    Ok(wire::GetClientConfigResponse {
        url: server.url.clone(),
        stage: document::Stage::from(found.stage).into(),
        group: group.to_string(),
        suites: dists.into_keys().collect(),
        components: apt::COMPONENTS.map(str::to_owned).to_vec(),
        architectures,
        ca_certificate: node.ca_pem.to_string(),
        repository_key: generation.repository_key(found.stage).unwrap_or_default().to_owned(),
    })
}
