//! Approving, declining and promoting.
//!
//! A decision that stands already is not a change: it keeps its author, time
//! and comment, and a set whose decisions all stand keeps its version.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::{Approval, ApprovalSet, Decision};
use crate::name::{GroupName, RolloutName};
use crate::node::{Mesh, Stage};
use crate::promotion::Lack;
use crate::revision::RevisionId;

/// How many faults a rejection spells out before it only counts them.
pub const FAULTS_SHOWN: usize = 20;

/// The longest comment, in characters: it is kept with every decision.
pub const MAX_COMMENT: usize = 1000;

/// What is to be decided, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The revisions. None is a fault, except when promoting.
    pub revisions: BTreeSet<RevisionId>,
    /// The groups; none: every group of the stage.
    pub groups: BTreeSet<GroupName>,
    /// Who decides.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub comment: String,
    /// The rule or baseline that asks; empty where a person does.
    pub rule: String,
}

/// The set after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The set; equal to the one before if `revisions` is empty.
    pub set: ApprovalSet,
    /// The revisions on which something was decided anew.
    pub revisions: BTreeSet<RevisionId>,
}

/// One reason to refuse a decision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing was named.
    #[error("no revision is named; `patchmesh update list` shows them")]
    NoRevisions,
    /// The catalogue has no such revision.
    #[error("revision {0} is not in the catalogue; `patchmesh update list` shows what is")]
    UnknownRevision(RevisionId),
    /// The mesh has no such group.
    #[error("there is no group {0}")]
    UnknownGroup(GroupName),
    /// The group's machines follow another stage.
    #[error("group {group} follows {actual}, not {asked}")]
    OtherStage {
        /// The group.
        group: GroupName,
        /// Its stage.
        actual: Stage,
        /// The stage of the decision.
        asked: Stage,
    },
    /// The stage has no group for which anything could be decided.
    #[error("stage {0} has no groups")]
    NoGroups(Stage),
    /// The revision did not pass the stage before.
    #[error("revision {revision} is not approved in {before}; approve it there first")]
    NotPromotable {
        /// The revision.
        revision: RevisionId,
        /// The stage that it must have passed.
        before: Stage,
    },
    /// No such plan.
    #[error("there is no rollout {0}; `patchmesh rollout show` shows those there are")]
    UnknownRollout(String),
    /// The plan is for another stage.
    #[error("rollout {rollout} is for {actual}, not {asked}")]
    RolloutStage {
        /// The plan.
        rollout: RolloutName,
        /// Its stage.
        actual: Stage,
        /// The stage of the decision.
        asked: Stage,
    },
    /// The plan has gone on beyond its first wave, and what is decided now would be
    /// open wherever it is without having passed a gate.
    #[error(
        "waves {waves} of rollout {rollout} are open, and would open this without passing their gates; plan a rollout of its own, or say --into-open-waves"
    )]
    OpenWaves {
        /// The plan.
        rollout: RolloutName,
        /// The open waves after the first.
        waves: String,
    },
    /// The evidence that promotion needs is not there.
    #[error("revision {revision}: {lack}")]
    Lacking {
        /// The revision.
        revision: RevisionId,
        /// What lacks.
        lack: Box<Lack>,
    },
    /// A decline without a reason.
    #[error("a decline needs a comment that says why")]
    NoComment,
    /// A comment that is too long or would garble a terminal.
    #[error("the comment has control characters or more than {MAX_COMMENT} characters")]
    Comment,
}

/// Every reason why a decision was refused; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The reasons.
    pub faults: Vec<Fault>,
}

impl std::error::Error for Rejection {}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().take(FAULTS_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        match self.faults.len().checked_sub(FAULTS_SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "; and {more} more"),
        }
    }
}

/// Approves `request` in the stage of `set`, to be opened by `rollout`.
///
/// `before` is the set of the stage that comes before, if there is one: what
/// is not approved there is refused. `is_known` says what the catalogue has.
///
/// # Errors
/// Every fault; nothing is decided then.
pub fn approve(
    set: &ApprovalSet,
    before: Option<&ApprovalSet>,
    mesh: &Mesh,
    is_known: impl Fn(&RevisionId) -> bool,
    rollout: &RolloutName,
    request: &Request,
) -> Result<Change, Rejection> {
    let mut faults = common_faults(request, is_known);
    let groups = groups(set.stage, mesh, &request.groups, &mut faults);
    if let Some(earlier) = set.stage.before() {
        let passed = |revision: &RevisionId| before.is_some_and(|set| set.is_approved(revision));
        let refused = request.revisions.iter().filter(|revision| !passed(revision));
        faults.extend(
            refused.map(|revision| Fault::NotPromotable {
                revision: revision.clone(),
                before: earlier,
            }),
        );
    }
    accept(faults)?;
    Ok(apply(set, request, &groups, &Decision::Approved(rollout.clone())))
}

/// Declines `request` in the stage of `set`.
///
/// # Errors
/// Every fault; nothing is decided then.
pub fn decline(
    set: &ApprovalSet,
    mesh: &Mesh,
    is_known: impl Fn(&RevisionId) -> bool,
    request: &Request,
) -> Result<Change, Rejection> {
    let mut faults = common_faults(request, is_known);
    let groups = groups(set.stage, mesh, &request.groups, &mut faults);
    if request.comment.trim().is_empty() {
        faults.push(Fault::NoComment);
    }
    accept(faults)?;
    Ok(apply(set, request, &groups, &Decision::Declined))
}

/// Approves in production what is approved in validation.
///
/// A request without revisions means all that is approved in validation; it
/// decides only where production has no decision yet, so that a decline
/// stands until somebody names the revision.
///
/// # Errors
/// Every fault; nothing is decided then.
pub fn promote(
    validation: &ApprovalSet,
    production: &ApprovalSet,
    mesh: &Mesh,
    is_known: impl Fn(&RevisionId) -> bool,
    rollout: &RolloutName,
    request: &Request,
) -> Result<Change, Rejection> {
    if !request.revisions.is_empty() {
        return approve(production, Some(validation), mesh, is_known, rollout, request);
    }
    let mut faults = comment_fault(request).into_iter().collect();
    let groups = groups(production.stage, mesh, &request.groups, &mut faults);
    accept(faults)?;
    let mut change = Change::none(production);
    for revision in validation.approved().into_iter().filter(|revision| is_known(revision)) {
        for group in groups.iter().filter(|group| production.get(revision, group).is_none()) {
            change.enter(revision, group, request, &Decision::Approved(rollout.clone()));
        }
    }
    Ok(change.numbered())
}

fn common_faults(request: &Request, is_known: impl Fn(&RevisionId) -> bool) -> Vec<Fault> {
    let mut faults: Vec<Fault> = comment_fault(request).into_iter().collect();
    if request.revisions.is_empty() {
        faults.push(Fault::NoRevisions);
    }
    let unknown = request.revisions.iter().filter(|revision| !is_known(revision));
    faults.extend(unknown.cloned().map(Fault::UnknownRevision));
    faults
}

fn comment_fault(request: &Request) -> Option<Fault> {
    (!is_plain(&request.comment, MAX_COMMENT)).then_some(Fault::Comment)
}

/// Whether a text has at most so many characters, and none that would garble a
/// terminal.
#[must_use]
pub fn is_plain(text: &str, most: usize) -> bool {
    let garbles = |c: char| c.is_control() && c != '\n';
    text.chars().count() <= most && !text.chars().any(garbles)
}

/// The groups that are meant; adds a fault for each that cannot be.
fn groups(
    stage: Stage,
    mesh: &Mesh,
    asked: &BTreeSet<GroupName>,
    faults: &mut Vec<Fault>,
) -> BTreeSet<GroupName> {
    if asked.is_empty() {
        let all: BTreeSet<_> = mesh.groups_of(stage).map(|group| group.name.clone()).collect();
        if all.is_empty() {
            faults.push(Fault::NoGroups(stage));
        }
        return all;
    }
    faults.extend(asked.iter().filter_map(|name| match mesh.group(name) {
        None => Some(Fault::UnknownGroup(name.clone())),
        Some(group) if group.stage != stage => {
            Some(Fault::OtherStage { group: name.clone(), actual: group.stage, asked: stage })
        }
        Some(_) => None,
    }));
    asked.clone()
}

fn accept(faults: Vec<Fault>) -> Result<(), Rejection> {
    if faults.is_empty() { Ok(()) } else { Err(Rejection { faults }) }
}

fn apply(
    set: &ApprovalSet,
    request: &Request,
    groups: &BTreeSet<GroupName>,
    decision: &Decision,
) -> Change {
    let mut change = Change::none(set);
    for revision in &request.revisions {
        for group in groups {
            change.enter(revision, group, request, decision);
        }
    }
    change.numbered()
}

impl Change {
    fn none(set: &ApprovalSet) -> Self {
        Self { set: set.clone(), revisions: BTreeSet::new() }
    }

    fn enter(
        &mut self,
        revision: &RevisionId,
        group: &GroupName,
        request: &Request,
        decision: &Decision,
    ) {
        let stands = self.set.get(revision, group).is_some_and(|one| one.decision == *decision);
        if stands {
            return;
        }
        let approval = Approval {
            decision: decision.clone(),
            by: request.by.clone(),
            at: request.at,
            comment: request.comment.clone(),
            rule: request.rule.clone(),
        };
        self.set.entries.insert((revision.clone(), group.clone()), approval);
        self.revisions.insert(revision.clone());
    }

    fn numbered(mut self) -> Self {
        if !self.revisions.is_empty() {
            self.set.version = self.set.version.saturating_add(1);
        }
        self
    }
}

#[cfg(test)]
mod tests;
