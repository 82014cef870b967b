//! Which of two revisions is the more dangerous not to have.
//!
//! Known-exploited first, then the effective severity, then the likelihood of
//! exploitation, then age: what waits longest comes first. What the company
//! judged to be no risk comes last, exploited or not.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Assessment, CveId, Share, Vulnerability};
use crate::revision::Severity;

/// An effective severity as a rank, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// The company judged that there is no risk.
    Dismissed,
    /// Nobody rated it.
    Unknown,
    /// Rated.
    Rated(Severity),
}

/// How dangerous it is not to have a revision: the greatest is the most
/// dangerous. The order of the fields is the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Danger {
    /// Whether one of its vulnerabilities is known to be exploited.
    pub exploited: bool,
    /// How bad it is.
    pub rank: Rank,
    /// The greatest likelihood of exploitation of its vulnerabilities.
    pub epss: Share,
    /// Since when it is known.
    pub since: Reverse<Timestamp>,
}

impl Assessment {
    /// How dangerous it is not to have the revision, known since `entered_at`,
    /// where the vulnerabilities `closed` are mended already.
    #[must_use]
    pub fn danger(&self, closed: &BTreeSet<CveId>, entered_at: Timestamp) -> Danger {
        let open = || self.vulnerabilities.iter().filter(|(cve, _)| !closed.contains(cve));
        let since = Reverse(entered_at);
        if self.is_dismissed() {
            return Danger { exploited: false, rank: Rank::Dismissed, epss: Share(0), since };
        }
        let stated =
            self.judgement.as_ref().and_then(|judgement| judgement.risk.severity()).or(self.vendor);
        let worst = || open().filter_map(|(_, one)| one.severity()).max();
        let epss = |one: &Vulnerability| one.epss.as_ref().map(|epss| epss.what.score);
        Danger {
            exploited: open().any(|(_, one)| one.exploited.is_some()),
            rank: stated.or_else(worst).map_or(Rank::Unknown, Rank::Rated),
            epss: open().filter_map(|(_, one)| epss(one)).max().unwrap_or_default(),
            since,
        }
    }

    /// Whether it can't wait for other traffic: known to be exploited, or of
    /// critical severity, unless the company judged that there is no risk.
    #[must_use]
    pub fn is_pressing(&self) -> bool {
        let exploited = || self.vulnerabilities.values().any(|one| one.exploited.is_some());
        let severity = self.severity().and_then(|(severity, _)| severity);
        !self.is_dismissed() && (severity == Some(Severity::Critical) || exploited())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use jiff::civil::date;
    use proptest::option;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::select;

    use super::*;
    use crate::assessment::tests::{cve, judged, scored};
    use crate::assessment::{Epss, Exploited, Risk, Stated};

    fn stated<T>(what: T) -> Option<Stated<T>> {
        Some(Stated { what, source: "test".to_owned() })
    }

    fn with(tenths: u8, exploited: bool, epss: u32) -> Assessment {
        let mut one = scored(tenths);
        let (added, score) = (date(2024, 3, 1), Share::from_millionths(epss).expect("a share"));
        one.exploited =
            exploited.then(|| stated(Exploited { added, due: None, ransomware: false })).flatten();
        one.epss = stated(Epss { score, percentile: score, date: added });
        Assessment { vulnerabilities: [(cve(1), one)].into(), ..Assessment::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn danger(assessment: &Assessment, second: i64) -> Danger {
        assessment.danger(&BTreeSet::new(), at(second))
    }

    #[test]
    fn what_is_critical_or_exploited_presses() {
        assert!(with(20, true, 1).is_pressing());
        assert!(with(95, false, 1).is_pressing());
        assert!(!with(50, false, 1).is_pressing());
        let dismissed = Assessment { judgement: Some(judged(Risk::None)), ..with(95, true, 1) };
        assert!(!dismissed.is_pressing());
        assert!(!Assessment::default().is_pressing());
    }

    #[test]
    fn each_fact_counts_more_than_all_that_follow() {
        let exploited = danger(&with(20, true, 1), 9);
        let critical = danger(&with(95, false, 1), 9);
        let likely = danger(&with(75, false, 900_000), 9);
        let old = danger(&with(75, false, 5), 0);
        let young = danger(&with(75, false, 5), 9);
        let unknown = danger(&Assessment::default(), 0);
        let mut dismissed = with(95, true, 900_000);
        dismissed.judgement = Some(judged(Risk::NotApplicable));
        let order = [exploited, critical, likely, old, young, unknown, danger(&dismissed, 0)];
        assert!(order.is_sorted_by(|a, b| a > b), "{order:?}");
    }

    #[test]
    fn what_is_mended_already_adds_no_danger() {
        let assessment = with(95, true, 900_000);
        let rest = assessment.danger(&[cve(1)].into(), at(0));
        assert_eq!(rest, danger(&Assessment::default(), 0));
    }

    fn assessments() -> impl Strategy<Value = (Assessment, i64)> {
        let vulnerability = (0..=100u8, any::<bool>(), 0..=1_000_000u32);
        (vulnerability, option::of(select(Risk::ALL)), option::of(select(Severity::ALL)), 0..9i64)
            .prop_map(|((tenths, exploited, epss), risk, vendor, second)| {
                let mut assessment = with(tenths, exploited, epss);
                assessment.judgement = risk.map(judged);
                assessment.vendor = vendor;
                (assessment, second)
            })
    }

    /// The rule as the module states it, written the long way.
    fn by_the_rule(a: &(Assessment, i64), b: &(Assessment, i64)) -> Ordering {
        let dismissed = |one: &(Assessment, i64)| one.0.is_dismissed();
        let exploited = |one: &(Assessment, i64)| {
            !dismissed(one) && one.0.vulnerabilities.values().any(|one| one.exploited.is_some())
        };
        let severity =
            |one: &(Assessment, i64)| one.0.severity().and_then(|(severity, _)| severity);
        let epss = |one: &(Assessment, i64)| {
            let all = one.0.vulnerabilities.values();
            let likely = all.filter_map(|one| one.epss.as_ref()).map(|epss| epss.what.score).max();
            if dismissed(one) { None } else { likely }
        };
        exploited(a)
            .cmp(&exploited(b))
            .then(dismissed(b).cmp(&dismissed(a)))
            .then(severity(a).cmp(&severity(b)))
            .then(epss(a).cmp(&epss(b)))
            .then(b.1.cmp(&a.1))
    }

    proptest! {
        #[test]
        fn the_order_is_the_rule(a in assessments(), b in assessments()) {
            prop_assert_eq!(danger(&a.0, a.1).cmp(&danger(&b.0, b.1)), by_the_rule(&a, &b));
        }

        #[test]
        fn the_order_is_total(a in assessments(), b in assessments(), c in assessments()) {
            let [a, b, c] = [a, b, c].map(|(one, second)| danger(&one, second));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            prop_assert!(!(a <= b && b <= c) || a <= c);
        }
    }
}
