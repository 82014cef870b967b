//! Large sets through their documents and back, and every way to break them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_proto::document::{self, MAX_PARTITION, decode, encode, reference};
use patchmesh_proto::references::references;
use patchmesh_proto::set::{
    Before, Cut, Error, cut_approvals, cut_bindings, cut_catalogue, cut_pool, read_approvals,
    read_approvals_after, read_bindings, read_catalogue, read_pool, version,
};
use patchmesh_proto::wire;
use patchmesh_topology::approval::{Approval, ApprovalSet, Decision};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::{CatalogueEntry, DocumentRef, RevisionId};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use prost::bytes::Bytes;

use crate::models;

type Store = BTreeMap<DocumentRef, Bytes>;

fn store(cut: &Cut) -> Store {
    cut.partitions.iter().cloned().collect()
}

fn revision(number: usize) -> RevisionId {
    format!("debian:bookworm/package-{number}@1.2.{number}-1").parse().expect("a revision")
}

fn catalogue(entries: usize) -> BTreeMap<RevisionId, CatalogueEntry> {
    (0..entries)
        .map(|number| {
            let document = reference(&number.to_le_bytes());
            let entered_at = Timestamp::UNIX_EPOCH;
            let fingerprint = document.digest;
            let entry = CatalogueEntry { document, entered_at, ordinal: 0, fingerprint };
            (revision(number), entry)
        })
        .collect()
}

fn approved(at: i64) -> Approval {
    Approval {
        decision: Decision::Approved("default-production".parse().expect("a name")),
        by: "ada".to_owned(),
        at: Timestamp::from_second(at).expect("a time"),
        comment: "baseline".to_owned(),
        rule: String::new(),
    }
}

/// Some thousand decisions, in several partitions.
fn approvals() -> ApprovalSet {
    let groups = ["servers", "workstations"].map(|text| text.parse().expect("a group"));
    let keys = (0..5000).flat_map(|number| groups.clone().map(|group| (revision(number), group)));
    let entries = keys.map(|key| (key, approved(0))).collect();
    ApprovalSet { stage: Stage::Production, version: 3, entries }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn catalogues(catalogue in models::catalogue()) {
        let cut = cut_catalogue(&catalogue, 7);
        let store = store(&cut);
        let read = read_catalogue(&cut.index, |name| store.get(name).cloned()).expect("a catalogue");
        prop_assert_eq!(read, catalogue);
        prop_assert_eq!(version(&cut.index).expect("an index"), 7);
    }

    #[test]
    fn bindings(bindings in models::bindings()) {
        let cut = cut_bindings(&bindings, 7);
        let store = store(&cut);
        let read = read_bindings(&cut.index, |name| store.get(name).cloned()).expect("bindings");
        prop_assert_eq!(read, bindings);
    }

    #[test]
    fn pools(pool in models::pool()) {
        let cut = cut_pool(&pool);
        let store = store(&cut);
        let read = read_pool(&cut.index, |name| store.get(name).cloned()).expect("a pool");
        prop_assert_eq!(read, pool);
    }

    #[test]
    fn approval_sets(set in models::approvals()) {
        let cut = cut_approvals(&set);
        let store = store(&cut);
        let read = read_approvals(&cut.index, |name| store.get(name).cloned());
        prop_assert_eq!(read.expect("approvals"), set);
    }
}

#[test]
fn one_decision_moves_kilobytes() {
    let before = approvals();
    let mut after = before.clone();
    after.version += 1;
    let key = (revision(4711), "servers".parse().expect("a group"));
    after.entries.insert(key, approved(99));
    let (before, after) = (cut_approvals(&before), cut_approvals(&after));
    let held = store(&before);
    assert!(before.partitions.len() > 8, "{} partitions", before.partitions.len());
    let moved: Vec<_> =
        after.partitions.iter().filter(|(name, _)| !held.contains_key(name)).collect();
    assert_eq!(moved.len(), 1);
    assert!(after.index.len() < 4096);
    for (name, stored) in &after.partitions {
        assert!(stored.len() <= MAX_PARTITION + 64, "{} bytes", stored.len());
        assert_eq!(*name, reference(stored));
    }
}

/// Whatever changes, in whatever number: reading only what changed comes to the
/// same as reading all.
#[test]
fn a_change_is_read_like_the_whole() {
    let before = approvals();
    let old = cut_approvals(&before);
    let steps: [fn(&mut ApprovalSet); 4] = [
        |set| drop(set.entries.pop_first()),
        |set| set.entries.values_mut().take(3).for_each(|one| one.comment = "later".to_owned()),
        |set| set.entries.retain(|(revision, _), _| revision.update.name.ends_with('7')),
        |set| {
            let group: patchmesh_topology::name::GroupName = "new".parse().expect("a group");
            for number in 0..600 {
                set.entries.insert((revision(number), group.clone()), approved(1));
            }
        },
    ];
    for step in steps {
        let mut after = before.clone();
        step(&mut after);
        let new = cut_approvals(&after);
        let mut stored = store(&old);
        stored.extend(store(&new));
        let known = || Some(Before { index: &old.index, contents: &before.entries });
        let lookup = |name: &DocumentRef| stored.get(name).cloned();
        let read = read_approvals_after(known(), &new.index, lookup).expect("read");
        assert_eq!(read, after);
        // Without the earlier partitions as well.
        let only = store(&new);
        let lookup = |name: &DocumentRef| only.get(name).cloned();
        assert_eq!(read_approvals_after(known(), &new.index, lookup).expect("read"), after);
    }
}

#[test]
fn a_change_reads_what_changed_and_nothing_else() {
    let before = approvals();
    let mut after = before.clone();
    after.entries.pop_first();
    let (old, new) = (cut_approvals(&before), cut_approvals(&after));
    let mut stored = store(&old);
    stored.extend(store(&new));
    let asked = std::cell::Cell::new(0);
    let lookup = |name: &DocumentRef| {
        asked.set(asked.get() + 1);
        stored.get(name).cloned()
    };
    let known = Before { index: &old.index, contents: &before.entries };
    let read = read_approvals_after(Some(known), &new.index, lookup).expect("read");
    assert_eq!((read, asked.get()), (after, 2));
}

#[test]
fn an_index_names_its_partitions_and_those_their_documents() {
    let catalogue = catalogue(3000);
    let cut = cut_catalogue(&catalogue, 1);
    let mut partitions: Vec<_> = cut.partitions.iter().map(|(name, _)| *name).collect();
    partitions.sort_unstable();
    assert_eq!(references(&cut.index).expect("an index").documents, partitions);
    let mut named: Vec<_> = cut
        .partitions
        .iter()
        .flat_map(|(_, stored)| references(stored).expect("a partition").documents)
        .collect();
    named.sort_unstable();
    let mut documents: Vec<_> = catalogue.values().map(|entry| entry.document).collect();
    documents.sort_unstable();
    assert_eq!(named, documents);
}

/// Reads the approvals after `change` had its way with index and store.
fn read_after(change: impl FnOnce(&mut wire::Index, &mut Store)) -> Result<ApprovalSet, Error> {
    let cut = cut_approvals(&approvals());
    let (mut index, mut store) =
        (decode::<wire::Index>(&cut.index).expect("an index"), store(&cut));
    change(&mut index, &mut store);
    read_approvals(&encode(&index), |name| store.get(name).cloned())
}

fn first(index: &wire::Index) -> DocumentRef {
    let document = index.partitions[0].document.clone().expect("a reference");
    document.try_into().expect("a reference")
}

/// Replaces the first partition by a changed one, under its own name.
fn edit_first(
    index: &mut wire::Index,
    store: &mut Store,
    edit: impl FnOnce(&mut Vec<wire::Approval>),
) {
    let mut partition: wire::ApprovalPartition =
        decode(&store[&first(index)]).expect("a partition");
    edit(&mut partition.entries);
    let stored = encode(&partition);
    index.partitions[0].document = Some((&reference(&stored)).into());
    store.insert(reference(&stored), stored);
}

#[test]
fn wrong_bytes_are_refused() {
    assert!(read_after(|_, _| {}).is_ok());
    let absent = read_after(|index, store| drop(store.remove(&first(index))));
    assert!(matches!(absent, Err(Error::Absent { .. })));
    let longer = read_after(|index, store| {
        let stored = store.get_mut(&first(index)).expect("a partition");
        *stored = [stored.as_ref(), b"x"].concat().into();
    });
    assert!(matches!(longer, Err(Error::OtherBytes { .. })));
    let other_length = read_after(|index, _| {
        index.partitions[0].document.as_mut().expect("a reference").length += 1;
    });
    assert!(matches!(other_length, Err(Error::Absent { .. })));
    let other_kind = read_after(|index, store| {
        let stored = encode(&wire::BindingPartition::default());
        index.partitions[0].document = Some((&reference(&stored)).into());
        store.insert(reference(&stored), stored);
    });
    assert!(matches!(
        other_kind,
        Err(Error::Partition { source: document::Error::Kind { .. }, .. })
    ));
}

#[test]
fn wrong_entries_are_refused() {
    let field = |result| match result {
        Err(Error::Field { source, .. }) => source.to_string(),
        other => panic!("not a field's fault: {other:?}"),
    };
    let twice = read_after(|index, store| {
        edit_first(index, store, |entries| entries.insert(1, entries[0].clone()));
    });
    assert_eq!(field(twice), "entries[1] is out of order or comes twice");
    let swapped = read_after(|index, store| edit_first(index, store, |entries| entries.swap(4, 5)));
    assert_eq!(field(swapped), "entries[5] is out of order or comes twice");
    let nameless = read_after(|index, store| {
        edit_first(index, store, |entries| entries[2].group.clear());
    });
    assert_eq!(field(nameless), "entries[2].group is not a name");
    let fewer = read_after(|index, store| edit_first(index, store, |entries| entries.truncate(9)));
    assert!(matches!(fewer, Err(Error::Count { promised: 10_000, .. })));
    let foreign = read_after(|index, _| {
        let (first, second) = index.partitions.split_at_mut(1);
        std::mem::swap(&mut first[0].document, &mut second[0].document);
    });
    assert!(matches!(foreign, Err(Error::Foreign { .. })));
}

#[test]
fn a_wrong_index_is_refused() {
    let gap = read_after(|index, _| drop(index.partitions.remove(1)));
    assert!(matches!(gap, Err(Error::Cover(_))));
    let bits = read_after(|index, _| index.partitions[0].prefix.push('x'));
    assert!(matches!(bits, Err(Error::Cover(_))));
    let kind = read_after(|index, _| index.partition_kind = "binding-partition".to_owned());
    assert!(matches!(kind, Err(Error::OtherSet { .. })));
    let stage = read_after(|index, _| index.stage = 0);
    assert!(matches!(stage, Err(Error::IndexField(_))));
    let unset = read_after(|index, _| index.partitions[3].document = None).expect_err("refused");
    let source = std::error::Error::source(&unset).expect("a source").to_string();
    assert_eq!(source, "partitions[3].document is missing");
}
