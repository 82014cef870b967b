//! Rules that approve what nobody named.
//!
//! [`Rule::fits`] says what a rule is about, [`evaluate`] what it would decide
//! now. A rule only fills gaps: where a person or another rule has decided,
//! approved or declined, that stands.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::approval::{Approval, ApprovalSet, Decision};
use crate::name::{GroupName, RuleName, SourceName};
use crate::node::{Mesh, Stage};
use crate::revision::{Classification, Revision, RevisionId, Severity};

/// The most rules of a mesh.
pub const MAX_RULES: usize = 256;

/// The longest delay: a year.
pub const MAX_DELAY: SignedDuration = SignedDuration::from_hours(365 * 24);

/// The longest pattern over names, in characters.
pub const MAX_GLOB: usize = 200;

/// What is approved by itself. An empty condition is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name.
    pub name: RuleName,
    /// The stage that it approves for.
    pub stage: Stage,
    /// The groups; none: every group of the stage.
    pub groups: BTreeSet<GroupName>,
    /// Kinds of updates.
    pub classifications: BTreeSet<Classification>,
    /// The least severity.
    pub severity: Option<Severity>,
    /// Products, of which a revision has to name one.
    pub products: BTreeSet<String>,
    /// Sources.
    pub sources: BTreeSet<SourceName>,
    /// Over the update's name, with `*` and `?`; empty: every name.
    pub name_glob: String,
    /// From entry into the catalogue for validation, from the approval in
    /// validation for production.
    pub delay: SignedDuration,
    /// Whether it decides by itself.
    pub enabled: bool,
    /// Who wrote it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Every rule: what the role `mesh` signs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Grows by one with every change.
    pub version: u64,
    /// The rules.
    pub rules: BTreeMap<RuleName, Rule>,
}

/// Why a rule cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name is taken.
    #[error("there is a rule {0} already; remove it first, or choose another name")]
    Taken(RuleName),
    /// No such rule.
    #[error("there is no rule {0}; `patchmesh rule list` shows those there are")]
    Unknown(RuleName),
    /// The mesh has no such group.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    UnknownGroup(GroupName),
    /// The group follows another stage.
    #[error("group {group} follows {actual}, not {asked}")]
    OtherStage {
        /// The group.
        group: GroupName,
        /// Its stage.
        actual: Stage,
        /// The rule's.
        asked: Stage,
    },
    /// It would wait for ever, or go back in time.
    #[error("a delay is at least 0 and at most 365 days")]
    Delay,
    /// A pattern that no name fits, or too long.
    #[error("a pattern over names has at most {MAX_GLOB} characters, none of them a blank")]
    Glob,
    /// It would approve everything that comes.
    #[error(
        "rule {0} has no condition and would approve everything; name a source, a classification, a severity, a product or `--name '*'`"
    )]
    NoCondition(RuleName),
    /// More than a mesh can have.
    #[error("the mesh has {MAX_RULES} rules already; remove one first")]
    TooMany,
}

impl Policy {
    /// This policy with another rule.
    ///
    /// # Errors
    /// Why not.
    pub fn add(&self, rule: Rule, mesh: &Mesh) -> Result<Self, Rejection> {
        if self.rules.contains_key(&rule.name) {
            return Err(Rejection::Taken(rule.name));
        }
        if self.rules.len() >= MAX_RULES {
            return Err(Rejection::TooMany);
        }
        rule.check(mesh)?;
        let mut next = self.clone();
        next.rules.insert(rule.name.clone(), rule);
        next.version += 1;
        Ok(next)
    }

    /// This policy without a rule. What it decided stands.
    ///
    /// # Errors
    /// Why not.
    pub fn remove(&self, name: &RuleName) -> Result<Self, Rejection> {
        let mut next = self.clone();
        next.rules.remove(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        next.version += 1;
        Ok(next)
    }

    /// This policy with a rule that decides by itself, or no longer does.
    ///
    /// # Errors
    /// Why not.
    pub fn enable(&self, name: &RuleName, enabled: bool) -> Result<Self, Rejection> {
        let mut next = self.clone();
        let rule = next.rules.get_mut(name).ok_or_else(|| Rejection::Unknown(name.clone()))?;
        if rule.enabled != enabled {
            rule.enabled = enabled;
            next.version += 1;
        }
        Ok(next)
    }
}

impl Rule {
    fn check(&self, mesh: &Mesh) -> Result<(), Rejection> {
        for name in &self.groups {
            match mesh.groups.get(name) {
                None => return Err(Rejection::UnknownGroup(name.clone())),
                Some(group) if group.stage != self.stage => {
                    let (actual, asked) = (group.stage, self.stage);
                    return Err(Rejection::OtherStage { group: name.clone(), actual, asked });
                }
                Some(_) => {}
            }
        }
        if self.delay < SignedDuration::ZERO || self.delay > MAX_DELAY {
            return Err(Rejection::Delay);
        }
        if !is_glob(&self.name_glob) {
            return Err(Rejection::Glob);
        }
        let is_open = self.classifications.is_empty()
            && self.severity.is_none()
            && self.products.is_empty()
            && self.sources.is_empty()
            && self.name_glob.is_empty();
        if is_open { Err(Rejection::NoCondition(self.name.clone())) } else { Ok(()) }
    }

    /// How its decisions are marked.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("rule/{}", self.name)
    }

    /// Whether a name alone rules a revision out, before it is opened.
    #[must_use]
    pub fn may_fit(&self, id: &RevisionId) -> bool {
        (self.sources.is_empty() || self.sources.contains(&id.update.source))
            && (self.name_glob.is_empty() || glob(&self.name_glob, &id.update.name))
    }

    /// Whether it is about `revision`, whose severity, as the company or the
    /// vendor rates it, is `severity`.
    #[must_use]
    pub fn fits(&self, revision: &Revision, severity: Option<Severity>) -> bool {
        let names = |product: &String| self.products.contains(product);
        self.may_fit(&revision.id)
            && (self.classifications.is_empty()
                || self.classifications.contains(&revision.classification()))
            && self.severity.is_none_or(|least| severity.is_some_and(|found| found >= least))
            && (self.products.is_empty() || revision.facts.products.iter().any(names))
    }
}

/// Decisions as a rule reads them.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// The groups.
    pub mesh: &'a Mesh,
    /// The decisions of the rule's stage.
    pub approvals: &'a ApprovalSet,
    /// Those of the stage before, if there is one.
    pub before: Option<&'a ApprovalSet>,
    /// The time.
    pub now: Timestamp,
}

/// What a rule comes to now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// What it approves now: revisions by the groups that they are for.
    pub due: BTreeMap<BTreeSet<GroupName>, BTreeSet<RevisionId>>,
    /// What waits for its delay.
    pub waiting: BTreeMap<RevisionId, Waiting>,
}

/// How a revision waits for a rule's delay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Until when.
    pub until: Timestamp,
    /// For which groups.
    pub groups: BTreeSet<GroupName>,
}

/// What `rule` approves now among `fitting`: revisions that it
/// [fits](Rule::fits), with the time of their entry into the catalogue.
#[must_use]
pub fn evaluate<'a>(
    rule: &Rule,
    state: State<'_>,
    fitting: impl IntoIterator<Item = (&'a RevisionId, Timestamp)>,
) -> Outcome {
    let groups: BTreeSet<&GroupName> = state
        .mesh
        .groups
        .values()
        .filter(|group| group.stage == rule.stage)
        .map(|group| &group.name)
        .filter(|name| rule.groups.is_empty() || rule.groups.contains(*name))
        .collect();
    let mut outcome = Outcome::default();
    for (revision, entered_at) in fitting {
        let undecided: BTreeSet<GroupName> = groups
            .iter()
            .filter(|group| state.approvals.get(revision, group).is_none())
            .map(|group| (*group).clone())
            .collect();
        if undecided.is_empty() {
            continue;
        }
        let since = match state.before {
            None => Some(entered_at),
            Some(before) => passed_at(before, revision),
        };
        // What did not pass the stage before is none of this rule's business.
        let Some(since) = since else { continue };
        let due_at = since.checked_add(rule.delay).unwrap_or(Timestamp::MAX);
        if due_at <= state.now {
            outcome.due.entry(undecided).or_default().insert(revision.clone());
        } else {
            let waiting = Waiting { until: due_at, groups: undecided };
            outcome.waiting.insert(revision.clone(), waiting);
        }
    }
    outcome
}

/// When a revision was first approved in a stage, as far as that still stands.
fn passed_at(set: &ApprovalSet, revision: &RevisionId) -> Option<Timestamp> {
    let approved = |approval: &&Approval| matches!(approval.decision, Decision::Approved(_));
    set.of(revision).map(|(_, approval)| approval).filter(approved).map(|one| one.at).min()
}

/// Whether a text can be a pattern over names.
pub(crate) fn is_glob(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    text.chars().count() <= MAX_GLOB && !text.chars().any(bad)
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters and
/// `?` for one. Takes time in proportion to the product of the lengths.
#[must_use]
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how far it reached when it was left.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, reach)) = star {
            star = Some((at, reach + 1));
            (p, t) = (at + 1, reach + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests;
