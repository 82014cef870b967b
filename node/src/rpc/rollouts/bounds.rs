//! Freezes, exceptions and groups of sites: entering, ending, listing.

use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::name::{ExceptionName, FreezeName, SiteGroupName};
use patchmesh_topology::node::Mesh;
use patchmesh_topology::rollout::exception::Scope;
use patchmesh_topology::rollout::{Exception, RolloutSet, exception, freeze, geography};
use tonic::{Code, Status};

use crate::rpc::context::Context;
use crate::rpc::status::{Refusal, field, published};

pub(super) async fn add_freeze(
    node: &Context,
    request: wire::AddFreezeRequest,
) -> Result<wire::AddFreezeResponse, Status> {
    let freeze = request.freeze.ok_or_else(|| field("freeze", "is missing"))?;
    let (name, freeze) = convert::freeze(freeze)
        .map_err(|error| field(&format!("freeze.{}", error.path()), error.fault()))?;
    let generation = change(node, |set, _, _| freeze::add(&mut set.freezes, name, freeze)).await?;
    Ok(wire::AddFreezeResponse { generation })
}

pub(super) async fn remove_freeze(
    node: &Context,
    request: &wire::RemoveFreezeRequest,
) -> Result<wire::RemoveFreezeResponse, Status> {
    let name: FreezeName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = change(node, |set, _, _| match set.freezes.remove(&name) {
        Some(_) => Ok(()),
        None => Err(freeze::Rejection::Unknown(name)),
    })
    .await?;
    Ok(wire::RemoveFreezeResponse { generation })
}

pub(super) fn freezes(node: &Context) -> wire::ListFreezesResponse {
    let set = node.generation().rollouts.clone();
    wire::ListFreezesResponse { freezes: set.freezes.iter().map(convert::freeze_to_wire).collect() }
}

pub(super) async fn add_exception(
    node: &Context,
    request: wire::AddExceptionRequest,
) -> Result<wire::AddExceptionResponse, Status> {
    let mut one = request.exception.ok_or_else(|| field("exception", "is missing"))?;
    one.since = Some(convert::timestamp_to_wire(Timestamp::now()));
    let (name, one) = convert::exception(one)
        .map_err(|error| field(&format!("exception.{}", error.path()), error.fault()))?;
    let generation = change(node, move |set, mesh, now| {
        if let Scope::Group(group) = &one.scope
            && mesh.group(group).is_none()
        {
            return Err(exception::Rejection::NoGroup(group.clone()));
        }
        exception::add(&mut set.exceptions, name, Exception { since: now, ..one })
    })
    .await?;
    Ok(wire::AddExceptionResponse { generation })
}

pub(super) async fn remove_exception(
    node: &Context,
    request: &wire::RemoveExceptionRequest,
) -> Result<wire::RemoveExceptionResponse, Status> {
    let name: ExceptionName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = change(node, |set, _, _| match set.exceptions.remove(&name) {
        Some(_) => Ok(()),
        None => Err(exception::Rejection::Unknown(name)),
    })
    .await?;
    Ok(wire::RemoveExceptionResponse { generation })
}

pub(super) fn exceptions(node: &Context) -> wire::ListExceptionsResponse {
    let set = node.generation().rollouts.clone();
    wire::ListExceptionsResponse {
        exceptions: set.exceptions.iter().map(convert::exception_to_wire).collect(),
    }
}

pub(super) async fn set_site_group(
    node: &Context,
    request: wire::SetSiteGroupRequest,
) -> Result<wire::SetSiteGroupResponse, Status> {
    let group = request.site_group.ok_or_else(|| field("site_group", "is missing"))?;
    let (name, sites) = convert::site_group(group)
        .map_err(|error| field(&format!("site_group.{}", error.path()), error.fault()))?;
    let generation = change(node, |set, _, _| set.set_site_group(name, sites)).await?;
    Ok(wire::SetSiteGroupResponse { generation })
}

pub(super) async fn remove_site_group(
    node: &Context,
    request: &wire::RemoveSiteGroupRequest,
) -> Result<wire::RemoveSiteGroupResponse, Status> {
    let name: SiteGroupName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = change(node, move |set, _, _| set.remove_site_group(&name)).await?;
    Ok(wire::RemoveSiteGroupResponse { generation })
}

pub(super) fn site_groups(node: &Context) -> wire::ListSiteGroupsResponse {
    let set = node.generation().rollouts.clone();
    let site_groups = set.site_groups.iter().map(convert::site_group_to_wire).collect();
    wire::ListSiteGroupsResponse { site_groups }
}

/// Changes what operators sign.
pub(in crate::rpc) async fn change<R: Refusal>(
    node: &Context,
    change: impl FnOnce(&mut RolloutSet, &Mesh, Timestamp) -> Result<(), R> + Send + 'static,
) -> Result<u64, Status> {
    let primary = node.primary()?;
    let publishing = primary.publisher.publish(move |draft| {
        let (mesh, now) = (draft.mesh.clone(), draft.now);
        let set = Arc::make_mut(&mut draft.rollouts);
        change(set, &mesh, now)?;
        set.version += 1;
        Ok::<_, R>(())
    });
    let ((), generation) = publishing.await.map_err(published)?;
    Ok(generation.number)
}

impl Refusal for freeze::Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Taken(_) => Code::AlreadyExists,
            Self::Unknown(_) => Code::NotFound,
            Self::Never(..) | Self::NoReason => Code::InvalidArgument,
            Self::TooMany => Code::FailedPrecondition,
        }
    }
}

impl Refusal for geography::Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::NotFound,
            Self::Size(_) => Code::InvalidArgument,
            Self::Used { .. } | Self::Wave(..) | Self::TooMany => Code::FailedPrecondition,
        }
    }
}

impl Refusal for exception::Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Taken(_) => Code::AlreadyExists,
            Self::Unknown(_) | Self::NoGroup(_) => Code::NotFound,
            Self::Over(_) | Self::Missing(_) | Self::Long(_) => Code::InvalidArgument,
            Self::TooMany => Code::FailedPrecondition,
        }
    }
}
