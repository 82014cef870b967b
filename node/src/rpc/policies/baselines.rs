//! Baselines: taking snapshots and comparing them.

use std::sync::Arc;

use patchmesh_proto::{admin as wire, wire as document};
use patchmesh_topology::baseline::{self, Baseline, BaselineSet, Origin, Packages, Rejection};
use patchmesh_topology::name::{BaselineName, SourceName};
use tonic::{Code, Status};

use crate::log::in_one_line;
use crate::primary::baselines::{self, Error, Taken};
use crate::primary::draft::Draft;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::{Refusal, field, internal, published};

/// The largest status file, in bytes: that of ten thousand packages.
const MAX_STATUS: usize = 14 << 20;

pub(super) fn list(node: &Context) -> wire::ListBaselinesResponse {
    let set = document::BaselineSet::from(node.generation().baselines.as_ref());
    wire::ListBaselinesResponse { baselines: set.baselines }
}

pub(super) async fn import(
    node: &Context,
    by: String,
    request: wire::ImportBaselineRequest,
) -> Result<wire::TakeBaselineResponse, Status> {
    let name: BaselineName = request.name.parse().map_err(|error| field("name", &error))?;
    if request.status.len() > MAX_STATUS {
        return Err(field("status", &format!("has more than {MAX_STATUS} bytes")));
    }
    let read = blocking(move || {
        let text = String::from_utf8_lossy(&request.status);
        Ok::<_, std::convert::Infallible>(baseline::read_status(&text))
    });
    let status = read.await?.map_err(|error| field("status", &error))?;
    let skipped = status.skipped;
    let response = take(node, name, Origin::Installed, status.packages, by).await?;
    Ok(wire::TakeBaselineResponse { skipped, ..response })
}

pub(super) async fn snapshot(
    node: &Context,
    by: String,
    request: wire::SnapshotBaselineRequest,
) -> Result<wire::TakeBaselineResponse, Status> {
    let name: BaselineName = request.name.parse().map_err(|error| field("name", &error))?;
    node.primary()?;
    let (generation, store) = (node.generation(), node.store.clone());
    // An update of a release's baseline follows what it followed.
    let known = generation.baselines.baselines.get(&name).map(|one| one.origin.clone());
    let (source, suite) = match (request.source.as_str(), known) {
        ("", Some(Origin::Release { source, suite })) => (source, suite),
        ("", Some(Origin::Installed)) => {
            return Err(Status::failed_precondition(format!(
                "baseline {name} was imported from a machine; `baseline import {name} --status FILE` takes another snapshot"
            )));
        }
        ("", None) => return Err(field("source", "is missing")),
        (source, _) => {
            let source: SourceName = source.parse().map_err(|error| field("source", &error))?;
            (source, request.suite)
        }
    };
    let taken = tokio::task::spawn_blocking(move || {
        baselines::of_release(&generation, &store, &source, &suite)
    });
    let (origin, packages) = taken
        .await
        .map_err(|_| Status::unavailable("the node is shutting down"))?
        .map_err(status)?;
    take(node, name, origin, packages, by).await
}

async fn take(
    node: &Context,
    name: BaselineName,
    origin: Origin,
    packages: Packages,
    by: String,
) -> Result<wire::TakeBaselineResponse, Status> {
    let (taken, generation) = node
        .primary()?
        .publisher
        .publish(move |draft| baselines::enter(draft, &name, origin, &packages, by))
        .await
        .map_err(published)?;
    let Taken { version, packages, unchanged, added, removed, changed } = taken;
    let generation = generation.number;
    let skipped = 0;
    Ok(wire::TakeBaselineResponse {
        generation,
        version,
        packages,
        unchanged,
        added,
        removed,
        changed,
        skipped,
    })
}

/// A baseline and the version meant: 0 is the last one.
pub(super) fn find<'a>(
    set: &'a BaselineSet,
    name: &str,
    version: u64,
) -> Result<(BaselineName, &'a Baseline, u64), Status> {
    let name: BaselineName = name.parse().map_err(|error| field("name", &error))?;
    let baseline = set
        .baselines
        .get(&name)
        .ok_or_else(|| Status::new(Code::NotFound, Rejection::Unknown(name.clone()).to_string()))?;
    let last = baseline.last().map_or(0, |(version, _)| version);
    let version = if version == 0 { last } else { version };
    if !baseline.snapshots.contains_key(&version) {
        return Err(Status::not_found(format!(
            "snapshot {version} of baseline {name} is not kept; the last one is {last}"
        )));
    }
    Ok((name, baseline, version))
}

pub(super) async fn get(
    node: &Context,
    request: wire::GetBaselineRequest,
) -> Result<wire::GetBaselineResponse, Status> {
    let generation = node.generation();
    let (name, baseline, version) = find(&generation.baselines, &request.name, request.version)?;
    let (store, index) = (node.store.clone(), baseline.snapshots[&version].index);
    let packages = blocking(move || baselines::read_stored(&store, &index)).await?;
    let one = BaselineSet { version: 0, baselines: [(name, baseline.clone())].into() };
    Ok(wire::GetBaselineResponse {
        baseline: document::BaselineSet::from(&one).baselines.pop(),
        version,
        packages: packages.iter().map(Into::into).collect(),
    })
}

pub(super) async fn diff(
    node: &Context,
    request: wire::DiffBaselineRequest,
) -> Result<wire::DiffBaselineResponse, Status> {
    let generation = node.generation();
    let (_, baseline, b) = find(&generation.baselines, &request.name, request.b)?;
    let before = baseline.snapshots.range(..b).next_back().map(|(version, _)| *version);
    let a = match (request.a, before) {
        (0, Some(before)) => before,
        (0, None) => {
            return Err(Status::not_found(format!(
                "no snapshot before {b} of baseline {} is kept",
                request.name
            )));
        }
        (asked, _) => find(&generation.baselines, &request.name, asked)?.2,
    };
    let (store, indices) = (node.store.clone(), [a, b].map(|one| baseline.snapshots[&one].index));
    let differences = blocking(move || {
        let [a, b] = indices.map(|index| baselines::read_stored(&store, &index));
        let (a, b) = (a?, b?);
        let differences = baseline::diff(&a, &b).into_iter().map(|one| wire::BaselineDifference {
            package: one.name.to_owned(),
            architecture: one.architecture.to_owned(),
            before: one.before.into_iter().map(str::to_owned).collect(),
            after: one.after.into_iter().map(str::to_owned).collect(),
        });
        Ok::<_, Error>(differences.collect())
    })
    .await?;
    Ok(wire::DiffBaselineResponse { a, b, differences })
}

pub(super) async fn remove(
    node: &Context,
    request: &wire::RemoveBaselineRequest,
) -> Result<wire::RemoveBaselineResponse, Status> {
    let name: BaselineName = request.name.parse().map_err(|error| field("name", &error))?;
    let ((), generation) = node
        .primary()?
        .publisher
        .publish(move |draft: &mut Draft| {
            draft.baselines = Arc::new(draft.baselines.remove(&name, &draft.mesh)?);
            Ok::<_, Rejection>(())
        })
        .await
        .map_err(published)?;
    Ok(wire::RemoveBaselineResponse { generation: generation.number })
}

fn status(error: Error) -> Status {
    match error.code() {
        Code::Internal => internal(&error),
        code => Status::new(code, in_one_line(&error)),
    }
}

impl Refusal for Error {
    fn code(&self) -> Code {
        match self {
            Self::Store(_) | Self::Missing | Self::Set(_) | Self::Load(_) => Code::Internal,
            Self::Never(_) | Self::Many(_) | Self::Empty => Code::FailedPrecondition,
            Self::Suite { .. } | Self::Status(_) => Code::InvalidArgument,
            Self::Rejected(rejection) => rejection.code(),
        }
    }
}

impl Refusal for Rejection {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(_) => Code::NotFound,
            _ => Code::FailedPrecondition,
        }
    }
}
