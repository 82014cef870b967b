//! Results: recording, resolving, listing.

use std::collections::BTreeSet;
use std::sync::Arc;

use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::lab::{Rejection, Resolution, Subject, TestResult};
use patchmesh_topology::name::PlatformName;
use patchmesh_topology::node::Stage;
use tonic::{Code, Status};

use crate::identity::peer::Peer;
use crate::primary::draft::Draft;
use crate::rpc::context::Context;
use crate::rpc::rights::check_stage;
use crate::rpc::status::{Refusal, field, published};

/// Subjects of one call.
const MAX_SUBJECTS: usize = 256;

/// Why results are not recorded.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// Nobody can have tried it.
    #[error(
        "there is no {0}; `patchmesh update list` and `patchmesh baseline list` show what there is"
    )]
    Unknown(Subject),
    /// The lab's own reasons.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl Refusal for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Unknown(_) | Self::Rejected(Rejection::NothingOpen { .. }) => Code::NotFound,
            Self::Rejected(Rejection::TooMany) => Code::FailedPrecondition,
            Self::Rejected(_) => Code::InvalidArgument,
        }
    }
}

pub(super) fn subject(field_name: &str, text: &str) -> Result<Subject, Status> {
    text.parse().map_err(|error| field(field_name, &error))
}

fn subjects(texts: &[String]) -> Result<BTreeSet<Subject>, Status> {
    if texts.len() > MAX_SUBJECTS {
        return Err(field("subjects", &format!("at most {MAX_SUBJECTS} a call")));
    }
    texts.iter().map(|text| subject("subjects", text)).collect()
}

fn platform(text: &str) -> Result<PlatformName, Status> {
    text.parse().map_err(|error| field("platform", &error))
}

pub(super) async fn add(
    node: &Context,
    peer: &Peer,
    request: wire::AddLabResultsRequest,
) -> Result<wire::AddLabResultsResponse, Status> {
    let primary = node.primary()?;
    check_stage(&node.generation().mesh, peer, Stage::Validation)?;
    let subjects = subjects(&request.subjects)?;
    if subjects.is_empty() {
        return Err(field("subjects", "name at least one"));
    }
    let platform = platform(&request.platform)?;
    let outcome =
        convert::lab_outcome(&request.outcome).map_err(|error| field("outcome", &error))?;
    let (by, note) = (peer.to_string(), request.note);
    let adding = primary.publisher.publish(move |draft| {
        if let Some(unknown) = subjects.iter().find(|one| !is_known(draft, one)) {
            return Err(Refused::Unknown(unknown.clone()));
        }
        let mut lab = (*draft.lab).clone();
        for subject in subjects {
            let (by, note) = (by.clone(), note.clone());
            let result = TestResult { at: draft.now, outcome, by, note, resolution: None };
            lab.results.add(subject, platform.clone(), result, |one| is_over(draft, one))?;
        }
        lab.version += 1;
        draft.lab = Arc::new(lab);
        Ok(())
    });
    let ((), generation) = adding.await.map_err(published)?;
    Ok(wire::AddLabResultsResponse { generation: generation.number })
}

fn is_known(draft: &Draft, subject: &Subject) -> bool {
    match subject {
        Subject::Revision(revision) => draft.catalogue.contains_key(revision),
        Subject::Release(name, version) => draft
            .baselines
            .baselines
            .get(name)
            .is_some_and(|one| one.snapshots.contains_key(version)),
    }
}

/// Whether nothing hangs on the results any more: production has decided for every
/// group, or what was tried is gone.
fn is_over(draft: &Draft, subject: &Subject) -> bool {
    let Subject::Revision(revision) = subject else { return !is_known(draft, subject) };
    let production = draft.approvals(Stage::Production);
    let is_decided = draft
        .mesh
        .groups_of(Stage::Production)
        .all(|group| production.get(revision, &group.name).is_some());
    is_decided || !is_known(draft, subject)
}

pub(super) async fn resolve(
    node: &Context,
    peer: &Peer,
    request: wire::ResolveLabFailuresRequest,
) -> Result<wire::ResolveLabFailuresResponse, Status> {
    let primary = node.primary()?;
    check_stage(&node.generation().mesh, peer, Stage::Validation)?;
    let subject = subject("subject", &request.subject)?;
    let platform = platform(&request.platform)?;
    let (by, reason) = (peer.to_string(), request.reason);
    let resolving = primary.publisher.publish(move |draft| {
        let mut lab = (*draft.lab).clone();
        let resolution = Resolution { reason, by, at: draft.now };
        lab.results.resolve(&subject, &platform, &resolution)?;
        lab.version += 1;
        draft.lab = Arc::new(lab);
        Ok::<_, Refused>(())
    });
    let ((), generation) = resolving.await.map_err(published)?;
    Ok(wire::ResolveLabFailuresResponse { generation: generation.number })
}

pub(super) fn list(
    node: &Context,
    request: &wire::ListLabResultsRequest,
) -> Result<wire::ListLabResultsResponse, Status> {
    let wanted = subjects(&request.subjects)?;
    let place = Some(request.platform.as_str()).filter(|text| !text.is_empty());
    let place = place.map(platform).transpose()?;
    let lab = node.generation().lab.clone();
    let results = lab
        .results
        .iter()
        .filter(|(subject, _, _)| wanted.is_empty() || wanted.contains(*subject))
        .filter(|(_, platform, _)| place.as_ref().is_none_or(|one| one == *platform));
    Ok(wire::ListLabResultsResponse { results: results.map(convert::result_to_wire).collect() })
}
