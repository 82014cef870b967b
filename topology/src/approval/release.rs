//! A vendor's whole release as one decision, and what later decisions on it
//! come to.
//!
//! Every group is looked at by itself. What somebody decided by name stands
//! for the groups that it was decided for; what only the release itself
//! decided goes when it left the release.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Approval, ApprovalSet, Request, Step};
use crate::name::{BaselineName, GroupName};
use crate::revision::RevisionId;

/// A release that is to be approved: one snapshot of a baseline.
#[derive(Debug, Clone, Copy)]
pub struct Release<'a> {
    /// The baseline.
    pub name: &'a BaselineName,
    /// The snapshot.
    pub version: u64,
    /// What it has.
    pub revisions: &'a BTreeSet<RevisionId>,
}

/// Who approves a release, when and why.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Who.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub comment: &'a str,
}

/// What approving a release comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The decisions, for [`super::batch`].
    pub steps: Vec<Step>,
    /// What is approved for some group that had it not.
    pub approved: BTreeSet<RevisionId>,
    /// What stays declined for some group, since somebody declined it by name.
    pub declined: BTreeSet<RevisionId>,
    /// What left the release, and is declined for some group.
    pub left: BTreeSet<RevisionId>,
}

impl Release<'_> {
    /// How the decisions of every snapshot begin.
    fn family(&self) -> String {
        family(self.name)
    }

    /// How its decisions are marked.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("{}{}", self.family(), self.version)
    }

    /// What approving it for `groups` comes to. `before` is the set of the
    /// stage that comes before: what somebody declined there for every group
    /// cannot be had here either, and counts as declined.
    #[must_use]
    pub fn decide(
        &self,
        set: &ApprovalSet,
        before: Option<&ApprovalSet>,
        groups: &BTreeSet<GroupName>,
        asking: Asking<'_>,
    ) -> Outcome {
        let family = self.family();
        let is_barred = |one: &Approval| !one.is_approved() && !one.rule.starts_with(&family);
        let barred: BTreeSet<&RevisionId> = match before {
            None => BTreeSet::new(),
            Some(before) => self
                .revisions
                .iter()
                .filter(|id| {
                    !before.is_approved(id) && before.of(id).any(|(_, one)| is_barred(one))
                })
                .collect(),
        };
        let mut outcome = Outcome::default();
        // Groups for which the same is to be done are one step.
        let mut wanted: BTreeMap<BTreeSet<RevisionId>, BTreeSet<GroupName>> = BTreeMap::new();
        let mut gone: BTreeMap<BTreeSet<RevisionId>, BTreeSet<GroupName>> = BTreeMap::new();
        for group in groups {
            let mut due = BTreeSet::new();
            for id in self.revisions {
                let place = match set.get(id, group) {
                    Some(one) if one.is_approved() => continue,
                    Some(one) if is_barred(one) => &mut outcome.declined,
                    _ if barred.contains(id) => &mut outcome.declined,
                    _ => &mut due,
                };
                place.insert(id.clone());
            }
            let ours = set.entries.iter().filter(|((id, name), one)| {
                name == group
                    && one.is_approved()
                    && one.rule.starts_with(&family)
                    && !self.revisions.contains(id)
            });
            let left: BTreeSet<_> = ours.map(|((id, _), _)| id.clone()).collect();
            outcome.approved.extend(due.iter().cloned());
            outcome.left.extend(left.iter().cloned());
            wanted.entry(due).or_default().insert(group.clone());
            gone.entry(left).or_default().insert(group.clone());
        }
        let request = |(revisions, groups): (BTreeSet<RevisionId>, BTreeSet<GroupName>),
                       comment: &str| Request {
            revisions,
            groups,
            by: asking.by.to_owned(),
            at: asking.at,
            comment: comment.to_owned(),
            rule: self.mark(),
        };
        let left = format!("left {}", self.mark());
        let approve = wanted.into_iter().map(|one| Step::Approve(request(one, asking.comment)));
        let decline = gone.into_iter().map(|one| Step::Decline(request(one, &left)));
        outcome.steps = approve.chain(decline).collect();
        outcome
    }
}

/// How the decisions of every snapshot of a baseline are marked, up to its
/// version.
#[must_use]
pub fn family(name: &BaselineName) -> String {
    format!("baseline/{name}@")
}

#[cfg(test)]
mod tests;
