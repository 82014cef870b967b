//! Baselines and rules through their documents and back.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::document::{MAX_PARTITION, decode, encode, reference};
use patchmesh_proto::references::references;
use patchmesh_proto::set::{cut_baseline, read_baseline};
use patchmesh_proto::wire;
use patchmesh_topology::baseline::{
    Baseline, BaselineSet, Origin, Package, PackageId, Packages, Snapshot,
};
use patchmesh_topology::rule::{Policy, Rule};

fn packages(count: usize) -> Packages {
    (0..count)
        .map(|number| {
            let id = PackageId {
                name: format!("package-{}", number / 2),
                architecture: if number % 2 == 0 { "amd64" } else { "i386" }.to_owned(),
                version: format!("1:{number}~rc1-1"),
            };
            let package = Package {
                provides: "virtual (= 2), other".to_owned(),
                breaks: "elder (<< 3)".to_owned(),
                revision: format!("package@{number}"),
                ..Package::default()
            };
            (id, package)
        })
        .collect()
}

#[test]
fn packages_are_cut_into_small_documents_and_read_back() {
    let packages = packages(5000);
    let cut = cut_baseline(&packages, 3);
    assert!(cut.partitions.len() > 4, "{}", cut.partitions.len());
    assert!(cut.partitions.iter().all(|(_, bytes)| bytes.len() < MAX_PARTITION + 100));
    let stored: BTreeMap<_, _> = cut.partitions.iter().cloned().collect();
    let read = read_baseline(&cut.index, |one| stored.get(one).cloned()).expect("read");
    assert_eq!(read, packages);
    let lacking = read_baseline(&cut.index, |_| None);
    assert!(lacking.is_err());
}

#[test]
fn baselines_name_the_index_of_every_snapshot() {
    let snapshot = |number: u64| Snapshot {
        taken_at: Timestamp::UNIX_EPOCH,
        by: "ada".to_owned(),
        packages: number,
        index: reference(&number.to_le_bytes()),
    };
    let baseline = |origin, count| Baseline {
        origin,
        snapshots: (1..=count).map(|number| (number, snapshot(number))).collect(),
    };
    let release =
        Origin::Release { source: "debian".parse().expect("a name"), suite: "bookworm".to_owned() };
    let set = BaselineSet {
        version: 4,
        baselines: BTreeMap::from([
            ("laptops".parse().expect("a name"), baseline(Origin::Installed, 3)),
            ("release".parse().expect("a name"), baseline(release, 2)),
        ]),
    };
    let bytes = encode(&wire::BaselineSet::from(&set));
    assert_eq!(references(&bytes).expect("references").documents.len(), 3);
    let read = decode::<wire::BaselineSet>(&bytes).expect("a document");
    assert_eq!(BaselineSet::try_from(read).expect("baselines"), set);
}

#[test]
fn a_suite_without_a_source_is_refused() {
    let baseline = wire::Baseline {
        name: "b".to_owned(),
        suite: "bookworm".to_owned(),
        ..wire::Baseline::default()
    };
    let set = wire::BaselineSet { version: 1, baselines: vec![baseline] };
    let error = BaselineSet::try_from(set).expect_err("refused");
    assert_eq!(error.path(), "baselines[0].suite");
}

#[test]
fn rules_come_back_as_they_were() {
    let rule = Rule {
        name: "critical-fast".parse().expect("a name"),
        stage: patchmesh_topology::node::Stage::Production,
        groups: ["servers".parse().expect("a name")].into(),
        classifications: [patchmesh_topology::revision::Classification::Security].into(),
        severity: Some(patchmesh_topology::revision::Severity::Important),
        products: ["office".to_owned()].into(),
        sources: ["vendor".parse().expect("a name")].into(),
        name_glob: "kb*".to_owned(),
        delay: SignedDuration::from_hours(48),
        enabled: true,
        by: "ada".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    };
    let policy = Policy { version: 2, rules: [(rule.name.clone(), rule)].into() };
    let bytes = encode(&wire::Policy::from(&policy));
    let mut message = decode::<wire::Policy>(&bytes).expect("a document");
    assert_eq!(Policy::try_from(message.clone()).expect("a policy"), policy);
    message.rules[0].delay_seconds = u64::MAX;
    let error = Policy::try_from(message.clone()).expect_err("refused");
    assert_eq!(error.path(), "rules[0].delay_seconds");
    message.rules[0].delay_seconds = 0;
    message.rules.push(message.rules[0].clone());
    assert_eq!(Policy::try_from(message).expect_err("twice").path(), "rules[1]");
}
