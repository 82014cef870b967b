//! Promotion: what production asks of a revision besides an approval in
//! validation, and who may do without.
//!
//! A [`Policy`] names platforms on which a revision has to have passed, a time
//! that it soaks in validation, and what validation's own machines have to say.
//! [`lacks`] judges one revision, [`refused`] a whole change of production's
//! decisions: whatever enters production, by whichever way, is either judged to
//! lack nothing or named by an [`Override`] that a second person consented to.
//! Without a policy nothing is asked.

mod judge;
pub mod policy;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::approval::{ApprovalSet, Fault, is_plain};
use crate::lab::{MAX_NOTE, Results};
use crate::name::GroupName;
use crate::revision::RevisionId;
use crate::rollout::gate::Counts;

pub use judge::{Case, Lack, lacks};
pub use policy::{Machines, Policy, Requirement};

/// Changes of the policy that are kept, the last ones.
pub const MAX_CHANGES: usize = 32;

/// Overrides that are kept, the last ones.
pub const MAX_OVERRIDES: usize = 256;

/// What an override's lacks are cut to.
pub const MAX_LACKS: usize = 32;

/// How the decisions of overrides are marked, up to their number.
const MARK: &str = "override/";

/// A change of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyChange {
    /// Who made it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What was in force from then on; `None`: none.
    pub policy: Option<Policy>,
}

/// A promotion without the evidence, which two people answer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What was promoted.
    pub revisions: BTreeSet<RevisionId>,
    /// For which groups; none: every group of production.
    pub groups: BTreeSet<GroupName>,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at: Timestamp,
    /// Who consented.
    pub consented_by: String,
    /// When.
    pub consented_at: Timestamp,
    /// What lacked when they consented, a sentence each; at most [`MAX_LACKS`].
    pub lacks: Vec<String>,
}

/// Revisions that may not be promoted, and what each lacks.
pub type Lacking = BTreeMap<RevisionId, Vec<Lack>>;

/// What the lab found, what promotion asks of it, and who did without: one
/// document, signed by the role `mesh`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lab {
    /// Grows by one with every change.
    pub version: u64,
    /// What is in force; `None`: nothing is asked.
    pub policy: Option<Policy>,
    /// How that came to be, the latest last.
    pub changes: Vec<PolicyChange>,
    /// What the lab found.
    pub results: Results,
    /// Who did without, by number.
    pub overrides: BTreeMap<u64, Override>,
}

/// Why an override is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Nobody would know why.
    #[error(
        "an override needs a reason of at most {MAX_NOTE} characters, none of them a control character"
    )]
    Reason,
    /// One person alone.
    #[error("{0} asked for it, so another person has to consent")]
    Same(String),
}

impl Lab {
    /// Puts a policy in force, or none.
    pub fn set_policy(&mut self, policy: Option<Policy>, by: &str, at: Timestamp) {
        if self.policy == policy {
            return;
        }
        self.policy.clone_from(&policy);
        self.changes.push(PolicyChange { by: by.to_owned(), at, policy });
        if self.changes.len() > MAX_CHANGES {
            self.changes.remove(0);
        }
        self.version += 1;
    }

    /// Enters an override under its number.
    ///
    /// # Errors
    /// It has no reason, or one person alone answers for it.
    pub fn enter(&mut self, number: u64, mut one: Override) -> Result<(), Rejection> {
        check_reason(&one.reason)?;
        if one.asked_by == one.consented_by {
            return Err(Rejection::Same(one.asked_by));
        }
        one.lacks.truncate(MAX_LACKS);
        self.overrides.insert(number, one);
        while self.overrides.len() > MAX_OVERRIDES {
            self.overrides.pop_first();
        }
        self.version += 1;
        Ok(())
    }

    /// Whether a decision with this mark on a revision is covered by an override.
    #[must_use]
    pub fn is_overridden(&self, revision: &RevisionId, mark: &str) -> bool {
        let number = mark.strip_prefix(MARK).and_then(|number| number.parse().ok());
        let one = number.and_then(|number: u64| self.overrides.get(&number));
        one.is_some_and(|one| one.revisions.contains(revision) && one.asked_by != one.consented_by)
    }
}

/// Refuses an override without a reason.
///
/// # Errors
/// [`Rejection::Reason`].
pub fn check_reason(reason: &str) -> Result<(), Rejection> {
    let is_good = !reason.trim().is_empty() && is_plain(reason, MAX_NOTE);
    if is_good { Ok(()) } else { Err(Rejection::Reason) }
}

/// How the decisions of an override are marked.
#[must_use]
pub fn mark(number: u64) -> String {
    format!("{MARK}{number}")
}

/// What validation says of a revision, for [`lacks`]; `machines` are those of
/// validation's groups.
#[must_use]
pub fn case<'a>(
    validation: &'a ApprovalSet,
    revision: &'a RevisionId,
    machines: Counts,
) -> Case<'a> {
    let approved = validation.of(revision).filter(|(_, one)| one.is_approved());
    // The first approval that stands: since then somebody has it.
    let first = approved.map(|(_, one)| one).min_by_key(|one| one.at);
    Case {
        revision,
        approved_at: first.map(|one| one.at),
        mark: first.map_or("", |one| one.rule.as_str()),
        machines,
    }
}

/// What each of these revisions lacks to be promoted; those that lack nothing are
/// left out. Nothing without a policy; `machines` are those of validation's groups.
#[must_use]
pub fn lacking<'a>(
    lab: &Lab,
    validation: &ApprovalSet,
    machines: impl Fn(&RevisionId) -> Counts,
    revisions: impl IntoIterator<Item = &'a RevisionId>,
    now: Timestamp,
) -> Lacking {
    if lab.policy.is_none() {
        return Lacking::new();
    }
    let judged = revisions.into_iter().map(|revision| {
        let case = case(validation, revision, machines(revision));
        (revision.clone(), lacks(lab, &case, now))
    });
    judged.filter(|(_, lacks)| !lacks.is_empty()).collect()
}

/// Every reason why production's decisions may not change from `before` to
/// `after`: for each revision that would be approved for a group anew, without an
/// override, whatever [lacks](lacking). Withdrawing asks for nothing.
#[must_use]
pub fn refused(
    lab: &Lab,
    validation: &ApprovalSet,
    (before, after): (&ApprovalSet, &ApprovalSet),
    machines: impl Fn(&RevisionId) -> Counts,
    now: Timestamp,
) -> Vec<Fault> {
    if lab.policy.is_none() {
        return Vec::new();
    }
    let enters = |key: &(RevisionId, GroupName)| {
        !before.entries.get(key).is_some_and(|one| one.is_approved())
    };
    let entering: BTreeSet<&RevisionId> = after
        .entries
        .iter()
        .filter(|(key, one)| one.is_approved() && enters(key))
        .filter(|((revision, _), one)| !lab.is_overridden(revision, &one.rule))
        .map(|((revision, _), _)| revision)
        .collect();
    let faults = lacking(lab, validation, machines, entering, now).into_iter();
    faults
        .flat_map(|(revision, lacks)| lacks.into_iter().map(move |lack| fault(&revision, lack)))
        .collect()
}

fn fault(revision: &RevisionId, lack: Lack) -> Fault {
    Fault::Lacking { revision: revision.clone(), lack: Box::new(lack) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
