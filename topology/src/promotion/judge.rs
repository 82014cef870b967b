//! What a revision lacks to be promoted, a sentence each.

use std::collections::BTreeSet;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::{Lab, Machines};
use crate::lab::{Outcome, Subject, TestResult};
use crate::name::PlatformName;
use crate::revision::RevisionId;
use crate::rollout::gate::{Breach, Counts, Gate};

/// What is known of a revision besides the lab's results.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The revision.
    pub revision: &'a RevisionId,
    /// Since when it is approved in validation.
    pub approved_at: Option<Timestamp>,
    /// The mark of that approval: a release, a rule, or nothing.
    pub mark: &'a str,
    /// What the machines of validation's groups said of it.
    pub machines: Counts,
}

/// One thing that lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Validation does not approve it.
    NotApproved,
    /// Nobody tried it on a platform.
    NoResult {
        /// What to record a result about.
        subject: Subject,
        /// Where.
        platform: PlatformName,
    },
    /// The latest result on a platform is no pass.
    NotPassed {
        /// Where.
        platform: PlatformName,
        /// The result.
        last: TestResult,
    },
    /// A failure is open.
    Failure {
        /// What failed.
        subject: Subject,
        /// Where.
        platform: PlatformName,
        /// How.
        failure: TestResult,
    },
    /// It is not in validation for long enough.
    Soak {
        /// How long it has to be.
        need: SignedDuration,
        /// When it will have been.
        until: Timestamp,
    },
    /// Too few machines came to an end with it.
    Reported {
        /// How many have to.
        need: u64,
        /// What there is.
        counts: Counts,
    },
    /// Too few machines have it.
    Installed {
        /// How many have to.
        need: u64,
        /// What there is.
        counts: Counts,
    },
    /// Too many machines failed.
    Failed(Breach),
}

/// Everything that a revision lacks to be promoted now; nothing without a policy.
#[must_use]
pub fn lacks(lab: &Lab, case: &Case<'_>, now: Timestamp) -> Vec<Lack> {
    let Some(policy) = &lab.policy else { return Vec::new() };
    let mut lacks = Vec::new();
    match case.approved_at {
        None => lacks.push(Lack::NotApproved),
        Some(at) => {
            let until = at.saturating_add(policy.soak).unwrap_or(Timestamp::MAX);
            if now < until {
                lacks.push(Lack::Soak { need: policy.soak, until });
            }
        }
    }
    on_platforms(lab, case, policy.required(case.revision), &mut lacks);
    by_machines(policy.machines, case.machines, &mut lacks);
    lacks
}

fn on_platforms(
    lab: &Lab,
    case: &Case<'_>,
    required: BTreeSet<&PlatformName>,
    lacks: &mut Vec<Lack>,
) {
    let subjects = Subject::all_of(case.revision, case.mark);
    let tried: BTreeSet<&PlatformName> = lab.results.platforms(&subjects).collect();
    for platform in required.union(&tried) {
        let standing = lab.results.standing(&subjects, platform);
        let platform = (*platform).clone();
        if let Some((subject, failure)) = standing.open {
            let (subject, failure) = (subject.clone(), failure.clone());
            lacks.push(Lack::Failure { subject, platform, failure });
            continue;
        }
        match standing.last {
            _ if !required.contains(&platform) => {}
            None => {
                let subject = Subject::Revision(case.revision.clone());
                lacks.push(Lack::NoResult { subject, platform });
            }
            Some((_, last)) if last.outcome == Outcome::Pass => {}
            Some((_, last)) => lacks.push(Lack::NotPassed { platform, last: last.clone() }),
        }
    }
}

fn by_machines(asked: Machines, counts: Counts, lacks: &mut Vec<Lack>) {
    if counts.reached < asked.min_reported {
        lacks.push(Lack::Reported { need: asked.min_reported, counts });
    }
    if counts.installed < asked.min_installed {
        lacks.push(Lack::Installed { need: asked.min_installed, counts });
    }
    // The limit of a wave, on the same counts.
    let gate = Gate { max_failed: asked.max_failed, ..Gate::default() };
    lacks.extend(gate.breach(counts, 0).map(Lack::Failed));
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApproved => {
                f.write_str("validation does not approve it; approve it there first")
            }
            Self::NoResult { subject, platform } => write!(
                f,
                "nobody recorded a result on platform {platform}; try it there, then `patchmesh lab result add {subject} --platform {platform} --outcome pass`"
            ),
            Self::NotPassed { platform, last } => {
                write!(f, "on platform {platform} it did not pass: ")?;
                said(f, last)?;
                f.write_str("; record a pass once it does")
            }
            Self::Failure { subject, platform, failure } => {
                write!(f, "a failure is open on platform {platform}: ")?;
                said(f, failure)?;
                write!(
                    f,
                    "; record a later pass, or `patchmesh lab result resolve {subject} --platform {platform} --reason WHY`"
                )
            }
            Self::Soak { need, until } => {
                write!(f, "it soaks in validation for {need:#}, until {until:.0}; promote it then")
            }
            Self::Reported { need, counts } => write!(
                f,
                "{} of {} validation machines reported an end, and {need} have to; wait for their reports",
                counts.reached, counts.machines
            ),
            Self::Installed { need, counts } => write!(
                f,
                "{} of {} validation machines have it, and {need} have to; install it on more of them",
                counts.installed, counts.machines
            ),
            Self::Failed(breach) => write!(
                f,
                "of the validation machines that reported, {breach}; put those machines right, or decline it"
            ),
        }
    }
}

/// `fail by user ada at 2026-11-27T10:00:00Z: no printing`
fn said(f: &mut fmt::Formatter<'_>, result: &TestResult) -> fmt::Result {
    let TestResult { outcome, by, at, note, resolution } = result;
    write!(f, "{outcome} by {by} at {at:.0}: {note}")?;
    match resolution {
        Some(one) => write!(f, " (resolved by {}: {})", one.by, one.reason),
        None => Ok(()),
    }
}
