//! Documents of every kind, and large sets of them, as whoever may sign them
//! could make them.

use std::collections::BTreeMap;
use std::fmt::Debug;

use patchmesh_proto::document::{self, Document, decode, encode, kind_of, reference};
use patchmesh_proto::references::references;
use patchmesh_proto::{convert, set, wire};
use patchmesh_topology::advisory::{Advisory, AdvisorySet};
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::node::Mesh;
use patchmesh_topology::revision::{DocumentRef, Revision};
use patchmesh_topology::rollout::{RolloutSet, WaveStateSet};
use patchmesh_topology::rule::Policy;
use patchmesh_topology::view::{View, ViewSet};
use prost::Message;
use prost::bytes::Bytes;

use crate::fuzz::{Form, GROWN, Target, same, word};
use crate::store::{Mode, Store};

const WORDS: &[&str] = &[
    "servers",
    "debian:bookworm/app@1.2",
    "emea/fr",
    "default-production",
    "https://x.example",
    "UTC",
    "Europe/Paris",
    "main/a/b.deb",
    "../x",
    "CVE-2024-1",
    "all",
    "#2",
];

/// A data folder to take seeds from when set.
const FROM: &str = "PATCHMESH_FUZZ_FROM";

/// Bytes of the largest seed, and seeds of one kind.
const SEED: u64 = 4 << 10;
const OF_A_KIND: usize = 3;

/// Memory for each byte: as [`LISTS`](crate::fuzz::LISTS), and the entries of some
/// documents are large, and all is read and written again here.
const FACTOR: u64 = 1024;

/// Documents and sets of a node whose data folder [`FROM`] names: what the corpus
/// was made of. Nothing without it.
fn harvest() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut documents, mut sets) = (Vec::new(), Vec::new());
    let Some(folder) = std::env::var_os(FROM) else { return (documents, sets) };
    let store = Store::open(folder.as_ref(), Mode::Existing).expect("a data folder");
    let mut kinds = BTreeMap::<String, usize>::new();
    for held in store.blobs().expect("blobs").into_iter().filter(|held| held.length <= SEED) {
        let stored = store.get_blob(&held.digest).expect("read").expect("held");
        let Ok(kind) = kind_of(&stored) else { continue };
        let count = kinds.entry(kind).or_default();
        *count += 1;
        if *count > OF_A_KIND {
            continue;
        }
        let named = set::partitions(&stored).unwrap_or_default();
        let partition = |name: &DocumentRef| store.get_blob(&name.digest).expect("read");
        let partitions: Vec<Bytes> = named.iter().filter_map(partition).collect();
        if !partitions.is_empty() && partitions.len() == named.len() {
            sets.push(Set { index: stored.clone(), partitions }.encode_to_vec());
        }
        documents.push(stored.to_vec());
    }
    sets.retain(|set| set.len() as u64 <= SEED);
    (documents, sets)
}

/// Reads a document as a node does; what was accepted is the same when written
/// and read again.
fn read_as<W, M>(stored: &Bytes) -> String
where
    W: Document + for<'a> From<&'a M>,
    M: TryFrom<W, Error = convert::Error> + PartialEq + Debug,
{
    let message = match decode::<W>(stored) {
        Ok(message) => message,
        Err(error) => return word::<(), _>(&Err(error)),
    };
    let outcome = M::try_from(message);
    if let Ok(model) = &outcome {
        let written = decode::<W>(&encode(&W::from(model))).expect("what was just written");
        same(model, M::try_from(written));
    }
    word(&outcome)
}

fn read(input: &[u8]) -> String {
    let stored = Bytes::copy_from_slice(input);
    let named = word(&references(&stored));
    let kind = kind_of(&stored).unwrap_or_default();
    let became = match kind.as_str() {
        wire::Topology::KIND => read_as::<wire::Topology, Mesh>(&stored),
        wire::Revision::KIND => read_as::<wire::Revision, Revision>(&stored),
        wire::RolloutSet::KIND => read_as::<wire::RolloutSet, RolloutSet>(&stored),
        wire::WaveStates::KIND => read_as::<wire::WaveStates, WaveStateSet>(&stored),
        wire::ViewSet::KIND => read_as::<wire::ViewSet, ViewSet>(&stored),
        wire::View::KIND => read_as::<wire::View, View>(&stored),
        wire::AdvisoryIndex::KIND => read_as::<wire::AdvisoryIndex, AdvisorySet>(&stored),
        wire::Advisory::KIND => read_as::<wire::Advisory, Advisory>(&stored),
        wire::Policy::KIND => read_as::<wire::Policy, Policy>(&stored),
        wire::BaselineSet::KIND => read_as::<wire::BaselineSet, BaselineSet>(&stored),
        _ => String::new(),
    };
    format!("{kind}: {became}; {named}")
}

/// Of every kind, each list with as many entries of nothing as fit: what takes the
/// most memory for its bytes.
fn empties() -> impl Iterator<Item = Vec<u8>> {
    let document = |(kind, field): (&&str, u8)| wire::Envelope {
        kind: (*kind).to_owned(),
        version: 1,
        required_features: Vec::new(),
        body: [(field << 3) | 2, 0].repeat(GROWN).into(),
    };
    let fields = |kind| (1..16).map(move |field| (kind, field));
    document::KINDS.iter().flat_map(fields).map(document).map(|one| one.encode_to_vec())
}

#[test]
fn empty_entries_take_memory_within_the_bound() {
    for document in empties() {
        let memory = allocation_counter::measure(|| drop(read(&document)));
        let (most, length) = (memory.bytes_max, document.len() as u64);
        assert!(most <= FACTOR * length, "{most} bytes of memory for {length}");
    }
}

#[test]
fn documents() {
    Target::new("documents", Form::Fields)
        .with_words(WORDS)
        .with_factor(FACTOR)
        .run(harvest().0, read);
}

/// An index and what it names.
#[derive(Clone, PartialEq, Message)]
struct Set {
    #[prost(bytes = "bytes", tag = "1")]
    index: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    partitions: Vec<Bytes>,
}

/// Names the partitions as they are, so that they are read however they were
/// changed.
fn index_of(set: &Set) -> Result<(Bytes, BTreeMap<DocumentRef, Bytes>), document::Error> {
    let mut index: wire::Index = decode(&set.index)?;
    for (partition, stored) in index.partitions.iter_mut().zip(&set.partitions) {
        partition.document = Some((&reference(stored)).into());
    }
    let store = set.partitions.iter().map(|stored| (reference(stored), stored.clone())).collect();
    Ok((encode(&index), store))
}

fn read_set(input: &[u8]) -> String {
    let set = match Set::decode(input) {
        Ok(set) => set,
        Err(error) => return word::<(), _>(&Err(error)),
    };
    let (index, store) = match index_of(&set) {
        Ok(found) => found,
        Err(error) => return word::<(), _>(&Err(error)),
    };
    let lookup = |name: &DocumentRef| store.get(name).cloned();
    let _ = set::partitions(&index);
    let mut became = String::new();
    macro_rules! try_as {
        ($read:ident, $cut:ident $(, $version:literal)?) => {
            let outcome = set::$read(&index, lookup);
            if let Ok(contents) = &outcome {
                let cut = set::$cut(contents $(, $version)?);
                let store: BTreeMap<_, _> = cut.partitions.into_iter().collect();
                same(contents, set::$read(&cut.index, |name| store.get(name).cloned()));
            }
            if !matches!(outcome, Err(set::Error::OtherSet { .. })) {
                became = format!("{} {}", stringify!($read), word(&outcome));
            }
        };
    }
    try_as!(read_catalogue, cut_catalogue, 1);
    try_as!(read_bindings, cut_bindings, 1);
    try_as!(read_assessments, cut_assessments, 1);
    try_as!(read_baseline, cut_baseline, 1);
    try_as!(read_approvals, cut_approvals);
    try_as!(read_pool, cut_pool);
    became
}

#[test]
fn sets() {
    Target::new("sets", Form::Fields)
        .with_words(WORDS)
        .with_factor(FACTOR)
        .run(harvest().1, read_set);
}
