//! Assessments and advisories through their documents and back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use patchmesh_proto::document::{MAX_PARTITION, decode, encode, reference};
use patchmesh_proto::references::references;
use patchmesh_proto::set::{
    cut_assessments, cut_revocations, cut_weights, read_assessments, read_revocations, read_weights,
};
use patchmesh_proto::wire;
use patchmesh_topology::advisory::{Advisory, AdvisorySet, Withdrawal};
use patchmesh_topology::assessment::{
    Assessment, CveId, Cvss, Epss, Exploited, Exposure, Judgement, MAX_VULNERABILITIES, Risk,
    Score, Share, Stated, Vulnerability,
};
use patchmesh_topology::revision::{RevisionId, Severity};
use patchmesh_topology::rollout::deadline::Weight;
use proptest::collection::{btree_map, btree_set};
use proptest::option;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::sample::select;

use crate::models;

fn cve() -> impl Strategy<Value = CveId> {
    (1999..2100u16, any::<u64>()).prop_map(|(year, number)| CveId::new(year, number).expect("one"))
}

fn day() -> impl Strategy<Value = Date> {
    (1990..2100i16, 1..13i8, 1..29i8).prop_map(|(y, m, d)| Date::new(y, m, d).expect("a day"))
}

fn stated<T: std::fmt::Debug>(
    what: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Stated<T>>> {
    option::of((what, "[a-z/]{1,9}").prop_map(|(what, source)| Stated { what, source }))
}

fn share() -> impl Strategy<Value = Share> {
    (0..=1_000_000u32).prop_map(|millionths| Share::from_millionths(millionths).expect("a share"))
}

fn vulnerability() -> impl Strategy<Value = Vulnerability> {
    let score = option::of((0..=100u8).prop_map(|tenths| Score::from_tenths(tenths).expect("one")));
    let cvss = (score, "[A-Z:/]{0,9}").prop_map(|(score, vector)| Cvss { score, vector });
    let exploited = (day(), option::of(day()), any::<bool>())
        .prop_map(|(added, due, ransomware)| Exploited { added, due, ransomware });
    let epss = (share(), share(), day()).prop_map(|(score, percentile, date)| Epss {
        score,
        percentile,
        date,
    });
    let links = btree_set("[a-z/]{1,9}", 0..4);
    (stated(select(Severity::ALL)), stated(cvss), stated(exploited), stated(epss), links).prop_map(
        |(severity, cvss, exploited, epss, links)| Vulnerability {
            severity,
            cvss,
            exploited,
            epss,
            links,
        },
    )
}

fn judgement() -> impl Strategy<Value = Judgement> {
    let exposure =
        prop_oneof![any::<u64>().prop_map(Exposure::Machines), ".{1,9}".prop_map(Exposure::Text),];
    (select(Risk::ALL), option::of(exposure), ".{0,9}", models::time(), ".{0,20}")
        .prop_map(|(risk, exposure, by, at, note)| Judgement { risk, exposure, by, at, note })
}

fn assessment() -> impl Strategy<Value = Assessment> {
    let known = btree_map(cve(), vulnerability(), 0..6);
    (option::of(select(Severity::ALL)), known, any::<u64>(), option::of(judgement())).prop_map(
        |(vendor, vulnerabilities, omitted, judgement)| Assessment {
            vendor,
            vulnerabilities,
            omitted,
            judgement,
        },
    )
}

fn weight() -> impl Strategy<Value = Weight> {
    let severity = option::of(option::of(select(Severity::ALL)));
    (severity, any::<[bool; 3]>()).prop_map(|(severity, [exploited, automatable, total])| Weight {
        severity,
        exploited,
        automatable,
        total,
    })
}

fn advisory() -> impl Strategy<Value = Advisory> {
    let lists = || proptest::collection::vec(".{0,9}", 0..3);
    let texts = (".{0,9}", ".{0,9}", ".{0,9}", ".{0,9}");
    let cves = btree_set(cve(), 0..4);
    let head = ("[a-z0-9][a-z0-9-]{0,9}", 1..9u32, option::of(select(Severity::ALL)));
    (head, texts, cves, (lists(), lists(), lists()), models::time()).prop_map(
        |((name, version, severity), texts, cves, lists, published_at)| Advisory {
            name: name.parse().expect("a name"),
            version,
            title: texts.0,
            severity,
            updates: ["v:s/a".parse().expect("an update"), "v:s/b@1".parse().expect("one")].into(),
            cves,
            flaw: texts.1,
            exploits: texts.2,
            scanners: lists.0,
            workarounds: lists.1,
            side_effects: lists.2,
            author: texts.3,
            published_at,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn assessments(set in btree_map(models::revision_id(), assessment(), 0..30)) {
        let cut = cut_assessments(&set, 3);
        let store: BTreeMap<_, _> = cut.partitions.iter().cloned().collect();
        let read = read_assessments(&cut.index, |name| store.get(name).cloned());
        prop_assert_eq!(read.expect("assessments"), set);
        for (_, stored) in &cut.partitions {
            prop_assert_eq!(references(stored).expect("a partition"), Default::default());
        }
    }

    #[test]
    fn weights(set in btree_map(models::revision_id(), weight(), 0..30)) {
        let cut = cut_weights(&set);
        let store: BTreeMap<_, _> = cut.partitions.iter().cloned().collect();
        let read = read_weights(&cut.index, |name| store.get(name).cloned());
        prop_assert_eq!(read.expect("weights"), set);
        for (_, stored) in &cut.partitions {
            prop_assert_eq!(references(stored).expect("a partition"), Default::default());
        }
    }

    #[test]
    fn revocations(set in btree_map(models::machine_name(), models::time(), 0..30)) {
        let cut = cut_revocations(&set);
        let store: BTreeMap<_, _> = cut.partitions.iter().cloned().collect();
        let read = read_revocations(&cut.index, |name| store.get(name).cloned());
        prop_assert_eq!(read.expect("revocations"), set);
        for (_, stored) in &cut.partitions {
            prop_assert_eq!(references(stored).expect("a partition"), Default::default());
        }
    }

    #[test]
    fn advisories(all in proptest::collection::vec(advisory(), 0..6), at in models::time()) {
        let mut set = AdvisorySet::default();
        let mut documents = BTreeSet::new();
        for one in &all {
            let stored = encode(&wire::Advisory::from(one));
            let read = Advisory::try_from(decode::<wire::Advisory>(&stored).expect("a document"));
            prop_assert_eq!(&read.expect("an advisory"), one);
            documents.insert(reference(&stored));
            set.publish(one, reference(&stored));
        }
        if let Some(one) = all.first() {
            let withdrawal = Withdrawal { by: "ada".into(), at, comment: "wrong".into() };
            set.withdraw(&one.name, withdrawal).expect("withdrawn");
        }
        let stored = encode(&wire::AdvisoryIndex::from(&set));
        let named: BTreeSet<_> =
            references(&stored).expect("an index").documents.into_iter().collect();
        prop_assert_eq!(named, documents);
        let read = AdvisorySet::try_from(decode::<wire::AdvisoryIndex>(&stored).expect("one"));
        prop_assert_eq!(read.expect("advisories"), set);
    }
}

/// The largest assessment that there can be stays about as large as a partition.
#[test]
fn the_largest_assessment_fits_a_partition() {
    let source = "osv/DEBIAN-CVE-2024-12345".to_owned();
    let day = Date::new(2024, 3, 4).expect("a day");
    let share = Share::from_millionths(1_000_000).expect("a share");
    let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H".to_owned();
    let one = Vulnerability {
        severity: Some(Stated { what: Severity::Critical, source: source.clone() }),
        cvss: Some(Stated {
            what: Cvss { score: Score::from_tenths(98), vector },
            source: source.clone(),
        }),
        exploited: Some(Stated {
            what: Exploited { added: day, due: Some(day), ransomware: true },
            source: "kev".to_owned(),
        }),
        epss: Some(Stated {
            what: Epss { score: share, percentile: share, date: day },
            source: "epss".to_owned(),
        }),
        links: [source, "osv/DSA-5678-1".to_owned()].into(),
    };
    let cves = (0..MAX_VULNERABILITIES as u64).map(|number| CveId::new(2024, number));
    let assessment = Assessment {
        vulnerabilities: cves.map(|cve| (cve.expect("a CVE"), one.clone())).collect(),
        judgement: Some(Judgement {
            risk: Risk::Critical,
            exposure: Some(Exposure::Text("x".repeat(2000))),
            by: "ada".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            note: "x".repeat(2000),
        }),
        ..Assessment::default()
    };
    let id: RevisionId = "debian:bookworm-security/linux@6.1.99-1".parse().expect("a revision");
    let cut = cut_assessments(&[(id, assessment)].into(), 1);
    assert_eq!(cut.partitions.len(), 1);
    assert!(cut.partitions[0].1.len() < MAX_PARTITION, "{}", cut.partitions[0].1.len());
}

#[test]
fn wrong_fields_are_named() {
    let judged = |judgement: wire::Judgement| wire::Assessment {
        revision: "v:s/a@1".into(),
        judgement: Some(judgement),
        ..Default::default()
    };
    let path = |value: wire::Assessment| {
        <(RevisionId, Assessment)>::try_from(value).expect_err("refused").path().to_owned()
    };
    assert_eq!(path(judged(wire::Judgement::default())), "judgement.risk");
    let one = |vulnerability: wire::Vulnerability| wire::Assessment {
        revision: "v:s/a@1".into(),
        vulnerabilities: vec![vulnerability],
        ..Default::default()
    };
    let wrong = wire::Vulnerability { cve: "CVE-1".into(), ..Default::default() };
    assert_eq!(path(one(wrong)), "vulnerabilities[0].cve");
    let epss =
        Some(wire::Epss { score: 1_000_001, date: "2024-01-01".into(), ..Default::default() });
    let wrong = wire::Vulnerability { cve: "CVE-2024-0001".into(), epss, ..Default::default() };
    assert_eq!(path(one(wrong)), "vulnerabilities[0].epss.score");
    let many = wire::Vulnerability { cve: "CVE-2024-0001".into(), ..Default::default() };
    let many = wire::Assessment {
        revision: "v:s/a@1".into(),
        vulnerabilities: vec![many; MAX_VULNERABILITIES + 1],
        ..Default::default()
    };
    assert_eq!(path(many), "vulnerabilities");
}
