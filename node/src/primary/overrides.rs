//! Promotions without the evidence that the policy asks for: one person asks,
//! another consents.
//!
//! What was asked for waits among what waits for signatures
//! ([`super::pending`]). With the consent the override is written into the lab's
//! document and the decisions are made, both in one generation; where people hold
//! production, the decisions then wait for their signatures as any other.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::wire as document;
use patchmesh_topology::approval::{self, Approval, Decision, MAX_COMMENT, Request, diff};
use patchmesh_topology::name::{GroupName, RolloutName, UserName};
use patchmesh_topology::node::{Mesh, Stage};
use patchmesh_topology::promotion::{self, Lacking, Override, mark};
use patchmesh_topology::revision::RevisionId;

use super::draft::Draft;
use super::pending::{self, Pending};
use super::publisher::{self, Fault, Worker};
use super::records::{PendingRecord, SignerRecord};
use crate::identity::peer::Peer;
use crate::store;

/// Most revisions of an override: it is an exception, and each is looked at.
pub const MAX_REVISIONS: usize = 100;

/// Why an override is not asked for, or not consented to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A decision that would be refused with evidence, too.
    #[error(transparent)]
    Approval(#[from] approval::Rejection),
    /// It would be taken without.
    #[error("nothing lacks that promotion asks for; run `patchmesh promote` without --override")]
    NothingLacks,
    /// Everything that was named stands already.
    #[error("production approves all of this already")]
    Stands,
    /// Too much at once.
    #[error("an override names at most {MAX_REVISIONS} revisions")]
    Many,
    /// No reason, or one person alone.
    #[error(transparent)]
    Rejected(#[from] promotion::Rejection),
    /// It waits for signatures, not for consent.
    #[error("{0} is no override; `patchmesh pending sign {0}` signs it")]
    NoOverride(u64),
    /// Who asked may not decide any more.
    #[error("{0} asked for it and may not decide on production any more; withdraw it")]
    Gone(String),
    /// What it is about was decided or changed since it was asked for.
    #[error("{revision} for {group} {what} since this was asked for; withdraw it and ask again")]
    Moved {
        /// The revision.
        revision: RevisionId,
        /// The group.
        group: GroupName,
        /// What happened.
        what: &'static str,
    },
    /// What waits could not be read or written.
    #[error(transparent)]
    Pending(#[from] pending::Error),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// It could not be published.
    #[error("the override could not be published; nothing was changed")]
    Publish(#[source] Arc<Fault>),
    /// The node is about to end.
    #[error("the node is shutting down; nothing was changed")]
    Stopped,
}

/// What consent came to.
#[derive(Debug)]
pub struct Outcome {
    /// The generation that has it.
    pub generation: u64,
    /// What it did without, a sentence each.
    pub lacks: Vec<String>,
    /// What waits for signatures now.
    pub pending: Vec<u64>,
}

/// Writes down what somebody asks for: revisions by name, and why in the comment.
/// Returns its number, and what lacks.
///
/// # Errors
/// Why not; nothing has changed then.
pub fn ask(worker: &Worker, rollout: &str, request: Request) -> Result<(u64, Vec<String>), Error> {
    promotion::check_reason(&request.comment)?;
    if request.revisions.is_empty() {
        // A promotion of everything is no exception.
        return Err(approval::Rejection { faults: vec![approval::Fault::NoRevisions] }.into());
    }
    if request.revisions.len() > MAX_REVISIONS {
        return Err(Error::Many);
    }
    let now = Timestamp::now();
    let mut draft = worker.draft(now);
    let rollout = draft.opened_by(Stage::Production, rollout)?;
    let present = draft.approvals(Stage::Production);
    let request = Request { at: now, ..request };
    let change = approval::promote(
        &draft.approvals(Stage::Validation),
        &present,
        &draft.mesh,
        |revision| draft.catalogue.contains_key(revision),
        &rollout,
        &request,
    )?;
    if change.revisions.is_empty() {
        return Err(Error::Stands);
    }
    let lacks = sentences(&draft.lacking(&change.revisions));
    if lacks.is_empty() {
        return Err(Error::NothingLacks);
    }
    let changes = diff(&present.entries, &change.set.entries);
    let record = PendingRecord {
        kind: wire::PendingKind::Override.into(),
        by: request.by,
        comment: request.comment,
        stage: document::Stage::from(Stage::Production).into(),
        changes: changes
            .into_iter()
            .filter_map(|one| Some((one.revision, one.group, one.after?).into()))
            .collect(),
        summary: lacks.clone(),
        ..PendingRecord::default()
    };
    let made = pending::add(worker, record, Vec::new(), now)?;
    Ok((made.id, lacks))
}

/// What lacks, by revision.
fn sentences(lacking: &Lacking) -> Vec<String> {
    let each = lacking
        .iter()
        .flat_map(|(revision, lacks)| lacks.iter().map(move |lack| format!("{revision}: {lack}")));
    each.collect()
}

/// Consents to what waits under a number, and decides it.
///
/// # Errors
/// Why not; nothing has changed then.
pub fn consent(worker: &mut Worker, id: u64, user: UserName) -> Result<Outcome, Error> {
    let name = user.to_string();
    let by = Peer::User(user).to_string();
    let mut waits = pending::waiting(&worker.press.store, id)?;
    if waits.record.kind() != wire::PendingKind::Override {
        return Err(Error::NoOverride(id));
    }
    if !decides(&worker.current.get().mesh, &waits.record.by) {
        return Err(Error::Gone(waits.record.by));
    }
    waits.record.signers.push(SignerRecord {
        user: name,
        key_id: String::new(),
        role: "consent".to_owned(),
        at: Timestamp::now().as_millisecond(),
    });
    let done = waits.published(worker.current.get().number + 1)?;
    let outcome = worker.change(move |draft| {
        let lacks = decide(draft, &waits, &by)?;
        draft.put(&super::records::PENDING, &pending::key(id), done);
        Ok::<_, Error>(lacks)
    });
    let pending = worker.take_pended();
    match outcome {
        Ok((lacks, generation)) => Ok(Outcome { generation: generation.number, lacks, pending }),
        Err(publisher::Error::Refused(error)) => Err(error),
        Err(publisher::Error::Failed(fault)) => Err(Error::Publish(fault)),
        Err(publisher::Error::Stopped) => Err(Error::Stopped),
    }
}

/// Whether who asked, as a record names them, may still decide on production.
fn decides(mesh: &Mesh, by: &str) -> bool {
    let name = by.strip_prefix("user ").and_then(|name| name.parse::<UserName>().ok());
    let user = name.and_then(|name| mesh.users.get(&name));
    user.is_some_and(|user| user.decides(Stage::Production))
}

/// Makes the decisions that were asked for, and writes down who answers for them.
fn decide(draft: &mut Draft, waits: &Pending, by: &str) -> Result<Vec<String>, Error> {
    let record = &waits.record;
    let mut set = Arc::unwrap_or_clone(draft.approvals(Stage::Production));
    let (mut revisions, mut groups) = (BTreeSet::new(), BTreeSet::new());
    for ((revision, group), asked) in waits.decisions()? {
        check(draft, &revision, &group, &asked)?;
        let comment = format!("{} (consent of {by})", record.comment);
        let decided = Approval {
            at: draft.now,
            comment: comment.chars().take(MAX_COMMENT).collect(),
            rule: mark(waits.id),
            ..asked
        };
        set.entries.insert((revision.clone(), group.clone()), decided);
        revisions.insert(revision);
        groups.insert(group);
    }
    set.version += 1;
    let lacks = sentences(&draft.lacking(&revisions));
    // Opened everywhere at once, unless another plan is named.
    draft.opened_by(Stage::Production, "")?;
    let asked_at = Timestamp::from_millisecond(record.created_at).unwrap_or(draft.now);
    let one = Override {
        revisions,
        groups,
        reason: record.comment.clone(),
        asked_by: record.by.clone(),
        asked_at,
        consented_by: by.to_owned(),
        consented_at: draft.now,
        lacks: lacks.clone(),
    };
    Arc::make_mut(&mut draft.lab).enter(waits.id, one)?;
    draft.set_approvals(set);
    Ok(lacks)
}

/// Refuses what is not as it was when it was asked for.
fn check(
    draft: &Draft,
    revision: &RevisionId,
    group: &GroupName,
    asked: &Approval,
) -> Result<(), Error> {
    let moved = |what| Error::Moved { revision: revision.clone(), group: group.clone(), what };
    if !draft.approvals(Stage::Validation).is_approved(revision) {
        return Err(moved("is not approved in validation"));
    }
    if draft.mesh.group(group).is_none_or(|one| one.stage != Stage::Production) {
        return Err(moved("has no group in production"));
    }
    let present = draft.approvals(Stage::Production);
    if present.get(revision, group).is_some_and(|one| one.at >= asked.at) {
        return Err(moved("was decided"));
    }
    let Decision::Approved(rollout) = &asked.decision else { return Err(moved("was declined")) };
    let is_there = draft.rollouts.rollouts.contains_key(rollout)
        || *rollout == RolloutName::default_for(Stage::Production);
    if is_there { Ok(()) } else { Err(moved("lost its rollout")) }
}
