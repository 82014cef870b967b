//! Verdicts counted.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Verdict;
use super::demand::Demands;
use super::survey::{Judged, Need, Scope, Survey};
use crate::name::{MAX_SITE_DEPTH, Site};
use crate::revision::{RevisionId, Severity, UpdateId};
use crate::rollout::Action;
use crate::tally::{Place, Tallies};

/// Machines counted by their verdicts, with the sample that these come from.
/// `machines` is the sum of the four verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// All of them.
    pub machines: u64,
    /// Of these: heard of within a day.
    pub seen_day: u64,
    /// Heard of within a week.
    pub seen_week: u64,
    /// By verdict.
    pub compliant: u64,
    /// By verdict.
    pub grace: u64,
    /// By verdict.
    pub overdue: u64,
    /// By verdict.
    pub unknown: u64,
    /// Of those in grace: past a deadline of what the plan has not opened to them.
    pub withheld: u64,
}

impl Census {
    /// One machine more, with this verdict; `day` and `week`: where those began.
    fn count(
        &mut self,
        seen: Option<Timestamp>,
        verdict: Verdict,
        is_withheld: bool,
        since: Since,
    ) {
        self.machines += 1;
        self.seen_day += u64::from(seen.is_some_and(|seen| seen >= since.day));
        self.seen_week += u64::from(seen.is_some_and(|seen| seen >= since.week));
        match verdict {
            Verdict::Compliant => self.compliant += 1,
            Verdict::Grace => {
                self.grace += 1;
                self.withheld += u64::from(is_withheld);
            }
            Verdict::Overdue => self.overdue += 1,
            Verdict::Unknown => self.unknown += 1,
        }
    }
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Self) {
        self.machines += other.machines;
        self.seen_day += other.seen_day;
        self.seen_week += other.seen_week;
        self.compliant += other.compliant;
        self.grace += other.grace;
        self.overdue += other.overdue;
        self.unknown += other.unknown;
        self.withheld += other.withheld;
    }
}

impl std::iter::Sum for Census {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// When the last day and week began.
#[derive(Debug, Clone, Copy)]
struct Since {
    day: Timestamp,
    week: Timestamp,
}

impl Since {
    fn of(now: Timestamp) -> Self {
        let before =
            |hours| now.checked_sub(SignedDuration::from_hours(hours)).unwrap_or(Timestamp::MIN);
        Self { day: before(24), week: before(7 * 24) }
    }
}

/// Machines by place.
pub fn by_place(survey: &mut Survey<'_>, scope: Scope<'_>) -> BTreeMap<Place, Census> {
    let since = Since::of(survey.demands().now());
    // By number: there are far more machines than places.
    let mut counts: Vec<Option<(Place, Census)>> = Vec::new();
    survey.each(scope, |judged| {
        let number = judged.number as usize;
        if counts.len() <= number {
            counts.resize(number + 1, None);
        }
        let (_, census) =
            counts[number].get_or_insert_with(|| (judged.place.clone(), Census::default()));
        let withheld = judged.needs.iter().any(Need::is_withheld);
        census.count(judged.seen, judged.verdict, withheld, since);
    });
    counts.into_iter().flatten().collect()
}

/// The first steps of a site's path.
#[must_use]
pub fn above(site: &Site, depth: usize) -> Site {
    let steps: Vec<&str> = site.as_str().split('/').take(depth.clamp(1, MAX_SITE_DEPTH)).collect();
    steps.join("/").parse().unwrap_or_else(|_| site.clone())
}

/// Machines by severity: each once for every severity, by what it lacks of that one
/// alone. The last is for what nobody rated.
pub fn by_severity(
    survey: &mut Survey<'_>,
    scope: Scope<'_>,
) -> BTreeMap<Option<Severity>, Census> {
    let since = Since::of(survey.demands().now());
    let severities: Vec<_> = Severity::ALL.iter().copied().map(Some).chain([None]).collect();
    let mut counts: BTreeMap<_, Census> =
        severities.iter().map(|severity| (*severity, Census::default())).collect();
    survey.each(scope, |judged| {
        for severity in &severities {
            let of = || judged.needs.iter().filter(|need| need.severity == *severity);
            let verdict = worst(&judged, of());
            let withheld = of().any(Need::is_withheld);
            counts.entry(*severity).or_default().count(judged.seen, verdict, withheld, since);
        }
    });
    counts
}

/// Machines by revision, with how bad it is not to have it.
pub type ByRevision = BTreeMap<RevisionId, (Option<Severity>, Census)>;

/// By revision about which anything is asked and was said: those that did it.
/// [`lack_revisions`] adds the others.
pub fn has_revisions(
    demands: &Demands<'_>,
    tallies: &Tallies,
    scope: Scope<'_>,
    severity: impl Fn(&RevisionId) -> Option<Severity>,
) -> ByRevision {
    let mut counts = ByRevision::new();
    for revision in tallies.revisions() {
        let actions: BTreeMap<_, _> = demands.actions(revision).collect();
        if actions.is_empty() {
            continue;
        }
        let (mut reached, mut has) = (0, 0);
        for (place, count) in tallies.said(revision).filter(|(place, _)| scope.contains(place)) {
            reached += count.reached;
            has += count.removed;
            if actions.get(&place.group) != Some(&Action::Remove) {
                has += count.installed;
            }
        }
        if reached > 0 {
            let census = Census { machines: has, compliant: has, ..Census::default() };
            counts.insert(revision.clone(), (severity(revision), census));
        }
    }
    counts
}

/// By revision: those of which it is asked and that did not do it.
pub fn lack_revisions(survey: &mut Survey<'_>, scope: Scope<'_>, counts: &mut ByRevision) {
    let since = Since::of(survey.demands().now());
    survey.each(scope, |judged| {
        for need in judged.needs {
            let verdict = worst(&judged, [need]);
            let count = match counts.get_mut(need.revision) {
                Some(count) => count,
                None => counts.entry(need.revision.clone()).or_default(),
            };
            count.0 = need.severity;
            count.1.count(judged.seen, verdict, need.is_withheld(), since);
        }
    });
}

/// Of each update the revision that is the newest by `ordinal`.
pub fn newest<T>(
    rows: BTreeMap<RevisionId, T>,
    ordinal: impl Fn(&RevisionId) -> u32,
) -> BTreeMap<RevisionId, T> {
    let mut newest: BTreeMap<UpdateId, (u32, RevisionId, T)> = BTreeMap::new();
    for (revision, row) in rows {
        let number = ordinal(&revision);
        let is_newer = newest.get(&revision.update).is_none_or(|(last, ..)| *last < number);
        if is_newer {
            newest.insert(revision.update.clone(), (number, revision, row));
        }
    }
    newest.into_values().map(|(_, revision, row)| (revision, row)).collect()
}

/// The verdict by some of a machine's needs.
fn worst<'a>(judged: &Judged<'_>, needs: impl IntoIterator<Item = &'a Need<'a>>) -> Verdict {
    match judged.verdict {
        Verdict::Unknown => Verdict::Unknown,
        _ => needs.into_iter().map(Need::verdict).max().unwrap_or(Verdict::Compliant),
    }
}
