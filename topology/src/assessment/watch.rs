//! The watch list: what is new and nobody judged yet, most dangerous first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;

use super::{Assessment, Assessments, CveId, Danger, Rank};
use crate::approval::{ApprovalSet, Decision};
use crate::revision::{CatalogueEntry, RevisionId, UpdateId};

/// A revision on the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched<'a> {
    /// Which.
    pub revision: &'a RevisionId,
    /// When the mesh first saw it.
    pub entered_at: Timestamp,
    /// How dangerous it is not to have it.
    pub danger: Danger,
    /// What is known and judged of it; `None` where that is nothing.
    pub assessment: Option<&'a Assessment>,
    /// The vulnerabilities that it mends and that no approved revision of the
    /// same update mends already.
    pub open: Vec<CveId>,
    /// How many it mends that an approved revision mends already.
    pub closed: usize,
    /// Whether somebody decided on it in validation.
    pub is_decided: bool,
}

impl Watched<'_> {
    /// Why it stands where it does, in a few words.
    #[must_use]
    pub fn why(&self) -> String {
        let mut reasons = Vec::new();
        if self.danger.exploited {
            let due = self.due().map(|due| format!(", due {due}")).unwrap_or_default();
            let ransomware = if self.ransomware() { ", by ransomware" } else { "" };
            reasons.push(format!("known exploited{ransomware}{due}"));
        }
        if let Some((_, basis)) = self.assessment.and_then(Assessment::severity) {
            let word = match self.danger.rank {
                Rank::Rated(severity) => Some(severity.as_str()),
                Rank::Dismissed => Some("no risk"),
                Rank::Unknown => None,
            };
            reasons.extend(word.map(|word| format!("{word} by {}", basis.as_str())));
        }
        if self.closed > 0 {
            reasons.push(format!("{} mended by what is approved", self.closed));
        }
        if reasons.is_empty() {
            reasons.push("nothing known".to_owned());
        }
        reasons.join("; ")
    }

    /// The first day by which an open vulnerability is to be mended.
    #[must_use]
    pub fn due(&self) -> Option<Date> {
        self.exploited().filter_map(|one| one.due).min()
    }

    /// Whether ransomware uses an open vulnerability.
    #[must_use]
    pub fn ransomware(&self) -> bool {
        self.exploited().any(|one| one.ransomware)
    }

    fn exploited(&self) -> impl Iterator<Item = &super::Exploited> {
        let known = self.assessment.map(|assessment| &assessment.vulnerabilities);
        self.open
            .iter()
            .filter_map(move |cve| known?.get(cve)?.exploited.as_ref())
            .map(|exploited| &exploited.what)
    }
}

/// The watch list: revisions without a decision in validation and without a
/// judgement of the company, or every revision where `all` is set. The most
/// dangerous comes first.
#[must_use]
pub fn list<'a>(
    catalogue: &'a BTreeMap<RevisionId, CatalogueEntry>,
    assessments: &'a Assessments,
    validation: &ApprovalSet,
    all: bool,
) -> Vec<Watched<'a>> {
    let mut decided = BTreeSet::new();
    let mut mended: BTreeMap<&UpdateId, BTreeSet<CveId>> = BTreeMap::new();
    for ((revision, _), approval) in &validation.entries {
        decided.insert(revision);
        if matches!(approval.decision, Decision::Approved(_))
            && let Some(assessment) = assessments.get(revision)
        {
            let of_update = mended.entry(&revision.update).or_default();
            of_update.extend(assessment.vulnerabilities.keys().copied());
        }
    }
    let nothing = BTreeSet::new();
    let watched = catalogue.iter().filter_map(|(revision, entry)| {
        let assessment = assessments.get(revision);
        let is_decided = decided.contains(revision);
        let is_judged = assessment.is_some_and(|one| one.judgement.is_some());
        if !all && (is_decided || is_judged) {
            return None;
        }
        // What a revision mends itself stays open while it's looked at as decided.
        let by_others = mended.get(&revision.update).filter(|_| !is_decided);
        let mended = by_others.unwrap_or(&nothing);
        let cves = || assessment.into_iter().flat_map(|one| one.vulnerabilities.keys());
        let open: Vec<CveId> = cves().filter(|cve| !mended.contains(cve)).copied().collect();
        let none = Assessment::default();
        Some(Watched {
            revision,
            entered_at: entry.entered_at,
            danger: assessment.unwrap_or(&none).danger(mended, entry.entered_at),
            assessment,
            closed: cves().count() - open.len(),
            open,
            is_decided,
        })
    });
    let mut list: Vec<_> = watched.collect();
    list.sort_by_key(|one| (Reverse(one.danger), one.revision));
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approval::Approval;
    use crate::assessment::tests::{cve, judged, scored};
    use crate::assessment::{Risk, Stated};
    use crate::digest::Digest;
    use crate::node::Stage;
    use crate::revision::DocumentRef;

    fn id(text: &str) -> RevisionId {
        text.parse().expect("a revision")
    }

    fn catalogue(ids: &[&str]) -> BTreeMap<RevisionId, CatalogueEntry> {
        let digest = Digest::of(b"x");
        let entry = CatalogueEntry {
            document: DocumentRef { digest, length: 1 },
            entered_at: Timestamp::UNIX_EPOCH,
            ordinal: 0,
            fingerprint: digest,
        };
        ids.iter().map(|text| (id(text), entry.clone())).collect()
    }

    fn mends(numbers: &[u64], tenths: u8) -> Assessment {
        let vulnerabilities = numbers.iter().map(|number| (cve(*number), scored(tenths))).collect();
        Assessment { vulnerabilities, ..Assessment::default() }
    }

    fn approved(text: &str) -> ApprovalSet {
        let approval = Approval {
            decision: Decision::Approved("default-validation".parse().expect("a name")),
            by: "ada".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            comment: String::new(),
            rule: String::new(),
        };
        let key = (id(text), "lab".parse().expect("a group"));
        ApprovalSet { stage: Stage::Validation, version: 1, entries: [(key, approval)].into() }
    }

    fn shown(list: &[Watched<'_>]) -> Vec<String> {
        list.iter().map(|one| one.revision.to_string()).collect()
    }

    #[test]
    fn the_most_dangerous_comes_first_and_what_was_judged_not_at_all() {
        let catalogue = catalogue(&["v:s/a@1", "v:s/b@1", "v:s/c@1", "v:s/d@1"]);
        let mut assessments: Assessments =
            [(id("v:s/b@1"), mends(&[1], 50)), (id("v:s/c@1"), mends(&[2], 95))].into();
        let empty = ApprovalSet::empty(Stage::Validation);
        let all = list(&catalogue, &assessments, &empty, false);
        assert_eq!(shown(&all), ["v:s/c@1", "v:s/b@1", "v:s/a@1", "v:s/d@1"]);
        assert_eq!(all[0].why(), "critical by vulnerabilities");
        assert_eq!(all[3].why(), "nothing known");

        assessments.get_mut(&id("v:s/c@1")).expect("there").judgement = Some(judged(Risk::Low));
        let rest = list(&catalogue, &assessments, &approved("v:s/a@1"), false);
        assert_eq!(shown(&rest), ["v:s/b@1", "v:s/d@1"]);
        let all = list(&catalogue, &assessments, &approved("v:s/a@1"), true);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn what_an_approved_revision_mends_already_is_not_open() {
        let catalogue = catalogue(&["v:s/a@1", "v:s/a@2", "v:s/b@1"]);
        let mut first = mends(&[1], 95);
        let added = jiff::civil::date(2024, 1, 1);
        let exploited = super::super::Exploited { added, due: Some(added), ransomware: true };
        for one in first.vulnerabilities.values_mut() {
            one.exploited = Some(Stated { what: exploited.clone(), source: "kev".to_owned() });
        }
        let mut second = first.clone();
        second.vulnerabilities.insert(cve(2), scored(50));
        let assessments: Assessments =
            [(id("v:s/a@1"), first.clone()), (id("v:s/a@2"), second), (id("v:s/b@1"), first)]
                .into();
        let rest = list(&catalogue, &assessments, &approved("v:s/a@1"), false);
        assert_eq!(shown(&rest), ["v:s/b@1", "v:s/a@2"]);
        assert_eq!(
            rest[0].why(),
            "known exploited, by ransomware, due 2024-01-01; critical by vulnerabilities"
        );
        assert_eq!(rest[1].open, [cve(2)]);
        assert_eq!(rest[1].closed, 1);
        assert!(!rest[1].danger.exploited);
    }
}
