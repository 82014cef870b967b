//! How revisions stand before promotion.

use std::collections::BTreeSet;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::{result_to_wire, timestamp_to_wire};
use patchmesh_topology::approval::ApprovalSet;
use patchmesh_topology::lab::{Found, Results, Subject};
use patchmesh_topology::name::PlatformName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::promotion::{self, Lacking, case, lacks};
use patchmesh_topology::revision::RevisionId;
use tonic::Status;

use crate::generation::Generation;
use crate::primary::machines::Machines;
use crate::rpc::context::Context;
use crate::rpc::status::field;

/// Revisions of one answer.
const MAX_SHOWN: usize = 256;

pub(super) fn get(
    node: &Context,
    request: &wire::GetEvidenceRequest,
) -> Result<wire::GetEvidenceResponse, Status> {
    // Only the primary hears of machines.
    let primary = node.primary()?;
    let generation = node.generation();
    if request.revisions.len() > MAX_SHOWN {
        return Err(field("revisions", &format!("at most {MAX_SHOWN} a call")));
    }
    let revisions = request.revisions.iter().map(|text| match text.parse::<RevisionId>() {
        Ok(id) if generation.catalogue.contains_key(&id) => Ok(id),
        Ok(id) => Err(Status::not_found(format!(
            "revision {id} is not in the catalogue; `patchmesh update list` shows what is"
        ))),
        Err(error) => Err(field("revisions", &error)),
    });
    let mut revisions: BTreeSet<RevisionId> = revisions.collect::<Result<_, _>>()?;
    let mut more = 0;
    if request.revisions.is_empty() {
        let candidates = candidates(&generation);
        more = candidates.len().saturating_sub(MAX_SHOWN) as u64;
        revisions = candidates.into_iter().take(MAX_SHOWN).collect();
    }
    let machines = Machines::of(primary.ledger.clone());
    let evidence = evidence(&generation, &machines, &revisions);
    let policy = generation.lab.policy.as_ref().map(Into::into);
    Ok(wire::GetEvidenceResponse { policy, evidence, more })
}

/// What validation approves and production has not decided on for every group.
fn candidates(generation: &Generation) -> BTreeSet<RevisionId> {
    let set = |stage| generation.approvals(stage).map(|one| &one.set);
    let (Some(validation), Some(production)) = (set(Stage::Validation), set(Stage::Production))
    else {
        return BTreeSet::new();
    };
    let groups: Vec<_> = generation.mesh.groups_of(Stage::Production).collect();
    let is_open =
        |id: &&RevisionId| groups.iter().any(|group| production.get(id, &group.name).is_none());
    validation.approved().into_iter().filter(is_open).cloned().collect()
}

fn evidence(
    generation: &Generation,
    machines: &Machines,
    revisions: &BTreeSet<RevisionId>,
) -> Vec<wire::Evidence> {
    let empty = ApprovalSet::empty(Stage::Validation);
    let set = |stage| generation.approvals(stage).map_or(&empty, |one| &one.set);
    let (validation, production) = (set(Stage::Validation), set(Stage::Production));
    let (lab, now) = (&generation.lab, Timestamp::now());
    let machines = machines.of_validation(&generation.mesh);
    let one = |revision: &RevisionId| {
        let counts = machines.counts(revision);
        let case = case(validation, revision, counts);
        let required = lab.policy.as_ref().map(|one| one.required(revision)).unwrap_or_default();
        let lacks = lacks(lab, &case, now);
        wire::Evidence {
            revision: revision.to_string(),
            approved_at: case.approved_at.map(timestamp_to_wire),
            platforms: platforms(&lab.results, &Subject::all_of(revision, case.mark), &required),
            machines: Some(wire::MachineCounts {
                machines: counts.machines,
                reported: counts.reached,
                installed: counts.installed,
                failed: counts.failed,
            }),
            lacks: lacks.iter().map(ToString::to_string).collect(),
            promoted: production.is_approved(revision),
        }
    };
    revisions.iter().map(one).collect()
}

fn platforms(
    results: &Results,
    subjects: &[Subject],
    required: &BTreeSet<&PlatformName>,
) -> Vec<wire::PlatformEvidence> {
    let tried: BTreeSet<&PlatformName> = results.platforms(subjects).collect();
    let one = |platform: &&PlatformName| {
        let standing = results.standing(subjects, platform);
        let last = |(subject, result): Found<'_>| result_to_wire((subject, platform, result));
        wire::PlatformEvidence {
            platform: platform.to_string(),
            required: required.contains(platform),
            last: standing.last.map(last),
            open_failure: standing.open.is_some(),
        }
    };
    required.union(&tried).map(one).collect()
}

/// What these revisions lack to be promoted, as a generation has it. Nothing at a
/// node that is not the primary: it does not hear of machines.
pub(in crate::rpc) fn lacking<'a>(
    node: &Context,
    generation: &Generation,
    revisions: impl IntoIterator<Item = &'a RevisionId>,
) -> Lacking {
    let (Some(primary), Some(validation)) =
        (&node.primary, generation.approvals(Stage::Validation))
    else {
        return Lacking::new();
    };
    let machines = Machines::of(primary.ledger.clone());
    let machines = machines.of_validation(&generation.mesh);
    let counts = |one: &RevisionId| machines.counts(one);
    promotion::lacking(&generation.lab, &validation.set, counts, revisions, Timestamp::now())
}
