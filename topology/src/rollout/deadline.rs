//! By when machines have to have a revision.
//!
//! `severity-2004` is one company's policy of 2004: 24 hours, one month, four
//! and twelve months by severity, from the day the revision entered the
//! catalogue. `cisa-bod-26-04` follows the Binding Operational Directive 26-04
//! of 10 June 2026, whose table (published as `cisa_bod_26_04_1_0_0.csv`)
//! goes by known exploitation, exposure, automatability and technical impact.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::later;
use crate::assessment::{Assessment, Basis};
use crate::revision::{RevisionId, Severity};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// A policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// By severity, as in 2004.
    #[default]
    Severity2004,
    /// By the directive of 2026.
    CisaBod2604,
    /// By severity, in times of one's own.
    Custom(Times),
}

/// Times by severity; what has none has no deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// For critical ones.
    pub critical: Option<SignedDuration>,
    /// For important ones.
    pub important: Option<SignedDuration>,
    /// For moderate ones.
    pub moderate: Option<SignedDuration>,
    /// For low ones.
    pub low: Option<SignedDuration>,
}

/// What a deadline hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// How bad it is not to have it; `None`: nobody rated it.
    pub severity: Option<Severity>,
    /// When the revision entered the catalogue.
    pub entered_at: Timestamp,
    /// Whether a vulnerability that it mends is known to be exploited.
    pub exploited: bool,
    /// Whether exploiting can be automated.
    pub automatable: bool,
    /// Whether an exploit takes total control.
    pub total: bool,
}

/// What an assessment makes of a revision, as far as deadlines hang on it: the part of
/// [`Facts`] that machines cannot tell from what its vendor states. What it says of single
/// vulnerabilities stays in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight {
    /// How bad it is not to have it; `None`: as its vendor states, `Some(None)`: no risk.
    pub severity: Option<Option<Severity>>,
    /// Whether a vulnerability that it mends is known to be exploited.
    pub exploited: bool,
    /// Whether exploiting can be automated.
    pub automatable: bool,
    /// Whether an exploit takes total control.
    pub total: bool,
}

/// Weights by revision; the others weigh what their vendors state.
pub type Weights = BTreeMap<RevisionId, Weight>;

/// A deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deadline {
    /// By then.
    By(Timestamp),
    /// With the next upgrade of the system.
    NextUpgrade,
    /// None.
    None,
}

impl Policy {
    /// By when a machine has to have a revision; `exposed`: it can be reached
    /// from outside.
    #[must_use]
    pub fn deadline(&self, facts: &Facts, exposed: bool) -> Deadline {
        let by = |time| Deadline::By(later(facts.entered_at, time));
        let time = match self {
            Self::Severity2004 => facts.severity.map(|severity| match severity {
                Severity::Critical => DAY,
                Severity::Important => DAY * 30,
                Severity::Moderate => DAY * 120,
                Severity::Low => DAY * 365,
            }),
            Self::Custom(times) => facts.severity.and_then(|severity| match severity {
                Severity::Critical => times.critical,
                Severity::Important => times.important,
                Severity::Moderate => times.moderate,
                Severity::Low => times.low,
            }),
            Self::CisaBod2604 => match days(facts, exposed) {
                None => return Deadline::NextUpgrade,
                Some(days) => Some(DAY * days),
            },
        };
        time.map_or(Deadline::None, by)
    }

    /// By when machines have to have a revision, in words; `None` where they do not.
    #[must_use]
    pub fn describe(&self, facts: &Facts) -> Option<String> {
        let of = |exposed| match self.deadline(facts, exposed) {
            Deadline::By(at) => Some(format!("by {at:.0}")),
            Deadline::NextUpgrade => Some(Deadline::NextUpgrade.to_string()),
            Deadline::None => None,
        };
        let (outside, inside) = (of(true)?, of(false)?);
        Some(match outside == inside {
            true => format!("due {outside}"),
            false => format!("due {outside} where it can be reached from outside, else {inside}"),
        })
    }
}

/// The directive's days; `None`: with the next upgrade.
const fn days(facts: &Facts, exposed: bool) -> Option<i32> {
    match (facts.exploited, exposed, facts.automatable, facts.total) {
        (false, false, true, _) => Some(60),
        (false, false, false, _) => None,
        (false, true, true, true) => Some(3),
        (false, true, true, false) | (false, true, false, true) => Some(14),
        (false, true, false, false) => Some(60),
        (true, false, true, true) => Some(3),
        (true, false, _, _) => Some(14),
        (true, true, _, true) => Some(3),
        (true, true, true, false) => Some(3),
        (true, true, false, false) => Some(14),
    }
}

impl Weight {
    /// What an assessment says. Where nobody states how a vulnerability can be exploited its
    /// CVSS vector does: over the network without help is automatable, high impact on all
    /// three counts is total.
    #[must_use]
    pub fn of(assessment: &Assessment) -> Self {
        let all = || assessment.vulnerabilities.values();
        let says = |parts: &[&str]| {
            all().any(|one| {
                one.cvss.as_ref().is_some_and(|cvss| {
                    let has = |part: &&str| cvss.what.vector.split('/').any(|has| has == *part);
                    parts.iter().all(has)
                })
            })
        };
        let assessed = assessment.severity().filter(|(_, basis)| *basis != Basis::Vendor);
        Self {
            severity: assessed.map(|(severity, _)| severity),
            exploited: all().any(|one| one.exploited.is_some()),
            automatable: says(&["AV:N", "AC:L", "PR:N", "UI:N"]),
            total: says(&["C:H", "I:H", "A:H"]) || says(&["VC:H", "VI:H", "VA:H"]),
        }
    }

    /// Whether it is what the vendor states and nothing else.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Facts {
    /// What an assessment says of a revision of this severity.
    #[must_use]
    pub fn of(
        assessment: Option<&Assessment>,
        severity: Option<Severity>,
        entered_at: Timestamp,
    ) -> Self {
        let weight = assessment.map(Weight::of).unwrap_or_default();
        Self { severity, ..Self::weighed(weight, None, entered_at) }
    }

    /// Of a revision with this weight whose vendor states this severity.
    #[must_use]
    pub fn weighed(weight: Weight, stated: Option<Severity>, entered_at: Timestamp) -> Self {
        let Weight { severity, exploited, automatable, total } = weight;
        Self { severity: severity.unwrap_or(stated), entered_at, exploited, automatable, total }
    }
}

impl Deadline {
    /// Whether it has passed.
    #[must_use]
    pub fn is_past(&self, now: Timestamp) -> bool {
        matches!(self, Self::By(at) if *at < now)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Severity2004 => "severity-2004",
            Self::CisaBod2604 => "cisa-bod-26-04",
            Self::Custom(_) => "custom",
        })
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(at) => write!(f, "{at}"),
            Self::NextUpgrade => f.write_str("with the next upgrade"),
            Self::None => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(exploited: bool, automatable: bool, total: bool) -> Facts {
        let entered_at = Timestamp::UNIX_EPOCH;
        Facts { severity: Some(Severity::Important), entered_at, exploited, automatable, total }
    }

    /// The directive's table, row by row: exploited, exposed, automatable,
    /// total; days, or 0 for the next upgrade.
    const TABLE: [([u8; 4], i32); 16] = [
        ([0, 0, 0, 0], 0),
        ([0, 0, 0, 1], 0),
        ([0, 0, 1, 0], 60),
        ([0, 0, 1, 1], 60),
        ([0, 1, 0, 0], 60),
        ([0, 1, 0, 1], 14),
        ([0, 1, 1, 0], 14),
        ([0, 1, 1, 1], 3),
        ([1, 0, 0, 0], 14),
        ([1, 0, 0, 1], 14),
        ([1, 0, 1, 0], 14),
        ([1, 0, 1, 1], 3),
        ([1, 1, 0, 0], 14),
        ([1, 1, 0, 1], 3),
        ([1, 1, 1, 0], 3),
        ([1, 1, 1, 1], 3),
    ];

    #[test]
    fn deadlines_are_told_in_words() {
        let told = |policy: Policy, automatable| policy.describe(&facts(false, automatable, true));
        assert_eq!(
            told(Policy::CisaBod2604, false).as_deref(),
            Some(
                "due by 1970-01-15T00:00:00Z where it can be reached from outside, else with the next upgrade"
            )
        );
        assert_eq!(
            told(Policy::Severity2004, false).as_deref(),
            Some("due by 1970-01-31T00:00:00Z")
        );
        assert_eq!(told(Policy::Custom(Times::default()), true), None);
    }

    #[test]
    fn the_directive_says_so() {
        for (row, days) in TABLE {
            let [exploited, exposed, automatable, total] = row.map(|one| one == 1);
            let found =
                Policy::CisaBod2604.deadline(&facts(exploited, automatable, total), exposed);
            let expected = match days {
                0 => Deadline::NextUpgrade,
                days => Deadline::By(Timestamp::UNIX_EPOCH + DAY * days),
            };
            assert_eq!(found, expected, "{row:?}");
        }
    }

    #[test]
    fn severity_decides_otherwise() {
        let of = |policy: Policy, severity| {
            policy.deadline(&Facts { severity, ..facts(false, false, false) }, false)
        };
        let by = |days| Deadline::By(Timestamp::UNIX_EPOCH + DAY * days);
        assert_eq!(of(Policy::Severity2004, Some(Severity::Critical)), by(1));
        assert_eq!(of(Policy::Severity2004, Some(Severity::Low)), by(365));
        assert_eq!(of(Policy::Severity2004, None), Deadline::None);
        let custom = Policy::Custom(Times { moderate: Some(DAY * 7), ..Times::default() });
        assert_eq!(of(custom, Some(Severity::Moderate)), by(7));
        assert_eq!(of(custom, Some(Severity::Critical)), Deadline::None);
    }
}
