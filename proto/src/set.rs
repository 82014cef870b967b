//! Large sets as documents: an index and the partitions that it names.
//!
//! The catalogue, the bindings, the approval sets, baselines and the pools of views grow
//! without bound, so they are cut ([`patchmesh_topology::partition`]) into documents of at most
//! [`MAX_PARTITION`]. Equal sets give equal bytes. Whoever changes a set
//! stores the partitions that it does not hold yet, by their names; whoever
//! follows fetches only those.
//!
//! Reading trusts nothing: each partition must have the length and digest that
//! the index states, belong to its prefix, be sorted, and repeat no key.

mod kinds;
mod read;

use std::collections::BTreeMap;

use patchmesh_topology::approval::{self, ApprovalSet};
use patchmesh_topology::assessment::Assessments;
use patchmesh_topology::baseline::Packages;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::node::Stage;
use patchmesh_topology::partition::{self, Item, Place, Prefix};
use patchmesh_topology::revision::{Binding, CatalogueEntry, DocumentRef, RevisionId};
use patchmesh_topology::revocation::Revocations;
use patchmesh_topology::rollout::deadline::Weights;
use patchmesh_topology::view::Pool;
use prost::bytes::Bytes;

use crate::convert::{self, At};
use crate::document::{self, Document, MAX_PARTITION, decode, encode, reference};
use crate::wire;
use kinds::{Approvals, Baseline, Bindings, Catalogue};
use read::{Contents, divide, read, read_after};

pub use read::Before;

/// A set as documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The index document.
    pub index: Bytes,
    /// Every partition with its name, in the order of the index.
    pub partitions: Vec<(DocumentRef, Bytes)>,
}

impl Cut {
    /// The index document's name.
    #[must_use]
    pub fn reference(&self) -> DocumentRef {
        reference(&self.index)
    }
}

/// Why documents are not a set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index cannot be read.
    #[error("the index cannot be read")]
    Index(#[source] document::Error),
    /// A field of the index is wrong.
    #[error("the index is not well-formed")]
    IndexField(#[source] convert::Error),
    /// The index belongs to another set.
    #[error("expected an index of {expected}, got one of {actual:?}")]
    OtherSet {
        /// The kind of partitions expected.
        expected: &'static str,
        /// The kind that the index states.
        actual: String,
    },
    /// The prefixes do not divide the keys among them.
    #[error("the prefixes of the index do not cover every key once")]
    Cover(#[source] partition::Error),
    /// A partition is not here.
    #[error("partition \"{prefix}\" ({}) is absent", .document.digest)]
    Absent {
        /// Its prefix.
        prefix: Prefix,
        /// Its name.
        document: DocumentRef,
    },
    /// A partition has other bytes than the index says.
    #[error(
        "partition \"{prefix}\" should have {} bytes named {}, found {} named {}",
        .expected.length, .expected.digest, .actual.length, .actual.digest
    )]
    OtherBytes {
        /// Its prefix.
        prefix: Prefix,
        /// What the index names.
        expected: DocumentRef,
        /// What was found.
        actual: DocumentRef,
    },
    /// A partition cannot be read.
    #[error("partition \"{prefix}\" cannot be read")]
    Partition {
        /// Its prefix.
        prefix: Prefix,
        /// Why.
        source: document::Error,
    },
    /// A field of a partition is wrong.
    #[error("partition \"{prefix}\" is not well-formed")]
    Field {
        /// Its prefix.
        prefix: Prefix,
        /// Which, and how.
        source: convert::Error,
    },
    /// A partition has an entry that belongs to another.
    #[error("partition \"{prefix}\" has {key}, which belongs to another")]
    Foreign {
        /// Its prefix.
        prefix: Prefix,
        /// The entry's key.
        key: String,
    },
    /// The partitions hold another number of entries than the index states.
    #[error("the index promises {promised} entries, its partitions hold {found}")]
    Count {
        /// The index's number.
        promised: u64,
        /// What was found.
        found: u64,
    },
}

/// What tells one kind of set from another.
trait Kind {
    type Key: Ord;
    type Value;
    /// The message of a partition.
    type Partition: Document;
    /// The message of an entry.
    type Entry: prost::Message;

    /// What decides to which partition an entry belongs.
    fn partition_key(key: &Self::Key) -> String;
    fn to_entry(key: &Self::Key, value: &Self::Value) -> Self::Entry;
    fn from_entry(entry: Self::Entry) -> Result<(Self::Key, Self::Value), convert::Error>;
    fn join(entries: Vec<Self::Entry>) -> Self::Partition;
    fn split(partition: Self::Partition) -> Vec<Self::Entry>;
}

/// The catalogue as documents.
#[must_use]
pub fn cut_catalogue(catalogue: &BTreeMap<RevisionId, CatalogueEntry>, version: u64) -> Cut {
    cut::<Catalogue>(catalogue, version, None)
}

/// The bindings as documents.
#[must_use]
pub fn cut_bindings(bindings: &BTreeMap<Sha256, Binding>, version: u64) -> Cut {
    cut::<Bindings>(bindings, version, None)
}

/// The assessments as documents.
#[must_use]
pub fn cut_assessments(assessments: &Assessments, version: u64) -> Cut {
    cut::<kinds::Assessments>(assessments, version, None)
}

/// What deadlines hang on, as documents; it has no versions.
#[must_use]
pub fn cut_weights(weights: &Weights) -> Cut {
    cut::<kinds::Weights>(weights, 0, None)
}

/// Machines that were shut out, as documents; they have no versions.
#[must_use]
pub fn cut_revocations(revocations: &Revocations) -> Cut {
    cut::<kinds::Revocations>(revocations, 0, None)
}

/// An approval set as documents.
#[must_use]
pub fn cut_approvals(set: &ApprovalSet) -> Cut {
    cut::<Approvals>(&set.entries, set.version, Some(set.stage))
}

/// The files of a view's pool as documents; they have no versions.
#[must_use]
pub fn cut_pool(pool: &Pool) -> Cut {
    cut::<kinds::Pools>(pool, 0, None)
}

/// The packages of a baseline as documents; `version` is the snapshot's.
#[must_use]
pub fn cut_baseline(packages: &Packages, version: u64) -> Cut {
    cut::<Baseline>(packages, version, None)
}

/// The files of a view's pool, from their index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_pool(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Pool, Error> {
    read::<kinds::Pools>(&open(index)?, lookup)
}

/// The packages of a baseline, from their index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_baseline(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Packages, Error> {
    read::<Baseline>(&open(index)?, lookup)
}

/// The catalogue, from its index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_catalogue(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<BTreeMap<RevisionId, CatalogueEntry>, Error> {
    read::<Catalogue>(&open(index)?, lookup)
}

/// The same, when earlier ones were read already.
///
/// # Errors
/// Why not.
pub fn read_catalogue_after(
    before: Option<Before<'_, BTreeMap<RevisionId, CatalogueEntry>>>,
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<BTreeMap<RevisionId, CatalogueEntry>, Error> {
    read_after::<Catalogue>(before, &open(index)?, lookup)
}

/// The bindings, from their index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_bindings(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<BTreeMap<Sha256, Binding>, Error> {
    read::<Bindings>(&open(index)?, lookup)
}

/// The same, when earlier ones were read already.
///
/// # Errors
/// Why not.
pub fn read_bindings_after(
    before: Option<Before<'_, BTreeMap<Sha256, Binding>>>,
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<BTreeMap<Sha256, Binding>, Error> {
    read_after::<Bindings>(before, &open(index)?, lookup)
}

/// The assessments, from their index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_assessments(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Assessments, Error> {
    read::<kinds::Assessments>(&open(index)?, lookup)
}

/// What deadlines hang on, from the index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_weights(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Weights, Error> {
    read::<kinds::Weights>(&open(index)?, lookup)
}

/// Machines that were shut out, from the index and `lookup` of documents.
///
/// # Errors
/// Why not.
pub fn read_revocations(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Revocations, Error> {
    read::<kinds::Revocations>(&open(index)?, lookup)
}

/// An approval set, from its index and `lookup` of documents. Whether it is
/// the set of the stage that signed it is for the caller to check.
///
/// # Errors
/// Why not.
pub fn read_approvals(
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<ApprovalSet, Error> {
    read_approvals_after(None, index, lookup)
}

/// The same, when an earlier one was read already.
///
/// # Errors
/// Why not.
pub fn read_approvals_after(
    before: Option<Before<'_, approval::Approvals>>,
    index: &Bytes,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<ApprovalSet, Error> {
    let index = open(index)?;
    let stage = convert::stage(index.stage).at("stage").map_err(Error::IndexField)?;
    let entries = read_after::<Approvals>(before, &index, lookup)?;
    Ok(ApprovalSet { stage, version: index.version, entries })
}

/// The partitions that an index names, to be fetched before it is read.
///
/// # Errors
/// The index is none, or not well-formed.
pub fn partitions(index: &Bytes) -> Result<Vec<DocumentRef>, Error> {
    Ok(divide(&open(index)?)?.into_iter().map(|(_, document)| document).collect())
}

/// The version that an index states: how often its set has changed.
///
/// # Errors
/// The index is none.
pub fn version(index: &Bytes) -> Result<u64, Error> {
    open(index).map(|index| index.version)
}

fn cut<K: Kind>(set: &Contents<K>, version: u64, stage: Option<Stage>) -> Cut {
    let items = set.iter().map(|(key, value)| {
        let entry = K::to_entry(key, value);
        let place = Place::of(&K::partition_key(key));
        Item { place, size: size_in_list(&entry), value: entry }
    });
    let (mut partitions, mut documents) = (Vec::new(), Vec::new());
    for part in partition::cut(items.collect(), MAX_PARTITION) {
        let stored = encode(&K::join(part.items));
        let name = reference(&stored);
        let prefix = part.prefix.to_string();
        partitions.push(wire::Partition { prefix, document: Some((&name).into()) });
        documents.push((name, stored));
    }
    let index = wire::Index {
        partition_kind: K::Partition::KIND.to_owned(),
        version,
        stage: stage.map_or(wire::Stage::Unspecified, wire::Stage::from).into(),
        partitions,
        entries: set.len() as u64,
    };
    Cut { index: encode(&index), partitions: documents }
}

/// The bytes of an entry within its partition: field number, length, message.
fn size_in_list(entry: &impl prost::Message) -> usize {
    let length = entry.encoded_len();
    1 + prost::length_delimiter_len(length) + length
}

fn open(stored: &Bytes) -> Result<wire::Index, Error> {
    decode(stored).map_err(Error::Index)
}
