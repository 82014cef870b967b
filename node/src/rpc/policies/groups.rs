//! Groups.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;

use patchmesh_proto::convert::Fault;
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::name::{BaselineName, GroupName};
use patchmesh_topology::node::groups::{Change, Rejection};
use patchmesh_topology::node::{Group, Mesh};
use tonic::{Code, Status};

use crate::generation::Generation;
use crate::primary::draft::Draft;
use crate::rpc::context::Context;
use crate::rpc::status::{Refusal, field, published};

pub(super) fn list(node: &Context) -> wire::ListGroupsResponse {
    let generation = node.generation();
    let groups = generation.mesh.groups.values().map(|group| row(&generation, group)).collect();
    wire::ListGroupsResponse { groups }
}

fn row(generation: &Generation, group: &Group) -> wire::GroupRow {
    let decisions = generation.approvals(group.stage).map_or(0, |approvals| {
        approvals.set.entries.keys().filter(|(_, name)| *name == group.name).count()
    });
    let baseline =
        group.baseline.as_ref().and_then(|name| generation.baselines.baselines.get(name));
    let views = generation.views_of(group).map(|(_, view)| view);
    let left_out = views.flat_map(|view| view.view().withheld.keys());
    let whole: BTreeSet<_> =
        left_out.filter(|one| one.package.is_empty()).map(|one| &one.revision).collect();
    let withheld = whole.into_iter().filter(|id| generation.withheld(group, id).is_some()).count();
    wire::GroupRow {
        group: Some(group.into()),
        decisions: decisions as u64,
        baseline_packages: baseline
            .and_then(|baseline| baseline.last())
            .map_or(0, |(_, snapshot)| snapshot.packages),
        withheld: withheld as u64,
    }
}

pub(super) async fn add(
    node: &Context,
    request: wire::AddGroupRequest,
) -> Result<wire::AddGroupResponse, Status> {
    let group = request.group.ok_or_else(|| field("group", "is missing"))?;
    let group = Group::try_from(group).map_err(|error| field("group", &error))?;
    let generation =
        change(node, move |draft| draft.mesh.add_group(group, |name| has(draft, name))).await?;
    Ok(wire::AddGroupResponse { generation })
}

pub(super) async fn set(
    node: &Context,
    request: wire::SetGroupRequest,
) -> Result<wire::SetGroupResponse, Status> {
    let name: GroupName = request.name.parse().map_err(|error| field("name", &error))?;
    let given = |value: i32| (value != 0).then_some(value);
    let asked = Change {
        stage: given(request.stage)
            .map(convert::stage)
            .transpose()
            .map_err(|error| field("stage", &error))?,
        install_mode: given(request.install_mode)
            .map(convert::install_mode)
            .transpose()
            .map_err(|error| field("install_mode", &error))?,
        baseline: stated("baseline", request.baseline.as_deref())?,
        owner: request.owner,
        reboot_slots: request
            .reboot_slots
            .map(convert::reboot_slots)
            .transpose()
            .map_err(|error| field("reboot_slots", &error))?,
        install_at: stated("install_at", request.install_at.as_deref())?,
        reboot: stated("reboot", request.reboot.as_deref())?,
        statistics_node: stated("statistics_node", request.statistics_node.as_deref())?,
        download_rate: stated("download_rate", request.download_rate.as_deref())?,
        at_deadline: convert::at_deadline(request.at_deadline)
            .map_err(|error| field("at_deadline", &error))?,
    };
    let generation = change(node, move |draft| {
        let decisions = decisions(draft, &name);
        let ruled = asked.stage.and_then(|_| ruled(draft, &name));
        match ruled {
            Some(rejection) if decisions == 0 => Err(rejection),
            _ => draft.mesh.set_group(&name, asked, decisions, |name| has(draft, name)),
        }
    })
    .await?;
    Ok(wire::SetGroupResponse { generation })
}

/// What is to change; absent stays, empty is none.
fn stated<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<Option<T>>, Status>
where
    Fault: From<T::Err>,
{
    text.map(convert::stated).transpose().map_err(|error| field(name, &error))
}

pub(super) async fn remove(
    node: &Context,
    request: &wire::RemoveGroupRequest,
) -> Result<wire::RemoveGroupResponse, Status> {
    let name: GroupName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = change(node, move |draft| {
        let mesh = draft.mesh.remove_group(&name, decisions(draft, &name))?;
        ruled(draft, &name).map_or(Ok(mesh), Err)
    })
    .await?;
    Ok(wire::RemoveGroupResponse { generation })
}

/// What changes nothing makes no generation.
async fn change(
    node: &Context,
    change: impl FnOnce(&Draft) -> Result<Mesh, Rejection> + Send + 'static,
) -> Result<u64, Status> {
    let ((), generation) = node
        .primary()?
        .publisher
        .publish(move |draft: &mut Draft| {
            let mesh = change(draft)?;
            if *draft.mesh != mesh {
                draft.mesh = Arc::new(mesh);
            }
            Ok::<_, Rejection>(())
        })
        .await
        .map_err(published)?;
    Ok(generation.number)
}

fn has(draft: &Draft, name: &BaselineName) -> bool {
    draft.baselines.baselines.contains_key(name)
}

/// How many decisions name a group, over all stages.
fn decisions(draft: &Draft, group: &GroupName) -> u64 {
    let sets = draft.approvals.values();
    let named = sets.flat_map(|set| set.entries.keys()).filter(|(_, name)| name == group);
    named.count() as u64
}

/// A rule that names a group keeps it where it is.
fn ruled(draft: &Draft, group: &GroupName) -> Option<Rejection> {
    let rule = draft.policy.rules.values().find(|rule| rule.groups.contains(group))?;
    Some(Rejection::Ruled { rule: rule.name.clone(), group: group.clone() })
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Taken(_) => Code::AlreadyExists,
            Self::Unknown(_) | Self::UnknownBaseline(_) => Code::NotFound,
            _ => Code::FailedPrecondition,
        }
    }
}
