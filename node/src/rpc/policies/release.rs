//! Approving a vendor's release as one decision: what it comes to, and the
//! decision itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, convert};
use patchmesh_topology::approval::release::{Asking, Outcome, Release};
use patchmesh_topology::approval::{ApprovalSet, batch};
use patchmesh_topology::baseline::Origin;
use patchmesh_topology::name::{BaselineName, GroupName};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::rollout::Rollout;
use tonic::Status;

use super::baselines::find;
use crate::generation::{Generation, read_revision};
use crate::primary::baselines::{Error, read_stored};
use crate::rpc::admin::decisions::decide;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::field;
use crate::store::Store;

pub(super) async fn approve(
    node: &Context,
    by: String,
    request: wire::ApproveBaselineRequest,
) -> Result<wire::ApproveBaselineResponse, Status> {
    let primary = node.primary()?;
    let stage = convert::stage(request.stage).map_err(|error| field("stage", &error))?;
    let groups: BTreeSet<GroupName> = request
        .groups
        .iter()
        .map(|group| group.parse().map_err(|error| field("groups", &error)))
        .collect::<Result<_, _>>()?;
    let generation = node.generation();
    let (name, baseline, version) = find(&generation.baselines, &request.name, request.version)?;
    if baseline.origin == Origin::Installed {
        return Err(Status::failed_precondition(format!(
            "baseline {name} is what machines have installed: there is nothing to approve; take one of a vendor's release with `baseline snapshot NAME --source SOURCE`"
        )));
    }
    let (store, origin) = (node.store.clone(), baseline.origin.clone());
    let index = baseline.snapshots[&version].index;
    let (known, comment) = (generation.clone(), request.comment);
    // What it comes to by the decisions that stand now.
    let (asked, mut answer) = blocking(move || {
        let packages = read_stored(&store, &index)?;
        let revisions = packages.values().filter_map(|one| origin.revision(one)).collect();
        let asked = Asked { name, version, revisions, groups, by, comment };
        let answer = asked.expect(&known, &store, stage)?;
        Ok::<_, Error>((asked, answer))
    })
    .await?;
    if request.dry_run {
        return Ok(answer);
    }
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let noted = outcome.clone();
    let decided = decide(primary, move |draft| {
        let set = draft.approvals(stage);
        let before = stage.before().map(|before| draft.approvals(before));
        let outcome = asked.decide(&set, before.as_deref(), &draft.mesh, draft.now);
        let catalogue = draft.catalogue.clone();
        let rollout = Rollout::default_for(stage);
        let is_known = |revision: &RevisionId| catalogue.contains_key(revision);
        let change =
            batch(&set, before.as_deref(), &draft.mesh, is_known, &rollout.name, &outcome.steps)?;
        draft.plan(rollout);
        *noted.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
        Ok(vec![change])
    })
    .await?;
    count(&mut answer, &outcome.lock().unwrap_or_else(PoisonError::into_inner));
    answer.decided = Some(decided);
    Ok(answer)
}

fn count(answer: &mut wire::ApproveBaselineResponse, outcome: &Outcome) {
    answer.approved = outcome.approved.len() as u64;
    answer.declined = outcome.declined.len() as u64;
    answer.retired = outcome.left.len() as u64;
}

/// A release that is to be approved.
struct Asked {
    name: BaselineName,
    version: u64,
    revisions: BTreeSet<RevisionId>,
    /// None: every group of the stage.
    groups: BTreeSet<GroupName>,
    by: String,
    comment: String,
}

impl Asked {
    fn decide(
        &self,
        set: &ApprovalSet,
        before: Option<&ApprovalSet>,
        mesh: &Mesh,
        at: Timestamp,
    ) -> Outcome {
        let meant = match self.groups.is_empty() {
            true => mesh.groups_of(set.stage).map(|group| group.name.clone()).collect(),
            false => self.groups.clone(),
        };
        let release =
            Release { name: &self.name, version: self.version, revisions: &self.revisions };
        let asking = Asking { by: &self.by, at, comment: &self.comment };
        release.decide(set, before, &meant, asking)
    }

    /// What it comes to now, counted. Blocks: opens what would be new.
    fn expect(
        &self,
        generation: &Generation,
        store: &Store,
        stage: Stage,
    ) -> Result<wire::ApproveBaselineResponse, Error> {
        let set = |stage| generation.approvals(stage).map(|one| one.set.as_ref());
        let empty = ApprovalSet::empty(stage);
        let before = stage.before().and_then(set);
        let now = Timestamp::now();
        let outcome = self.decide(set(stage).unwrap_or(&empty), before, &generation.mesh, now);
        let mut answer = wire::ApproveBaselineResponse {
            version: self.version,
            revisions: self.revisions.len() as u64,
            ..Default::default()
        };
        count(&mut answer, &outcome);
        for id in &outcome.approved {
            if let Some(revision) = read_revision(generation, store, id)? {
                let lengths = revision.payloads.iter().map(|payload| payload.length);
                answer.bytes = answer.bytes.saturating_add(lengths.sum::<u64>());
            }
        }
        Ok(answer)
    }
}
