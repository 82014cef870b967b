//! What a document names: the edges of the Merkle DAG.
//!
//! A follower begins with the documents that the signed targets name, fetches
//! what each names in turn, and so has a whole generation. Payloads are not
//! part of it: bindings and files of pools name content, which comes separately.

use patchmesh_topology::advisory::AdvisorySet;
use patchmesh_topology::baseline::BaselineSet;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{View, ViewSet};
use prost::bytes::Bytes;

use crate::document::{self, Document, decode, kind_of};
use crate::{convert, set, wire};

/// What a document names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// Documents, which may name others in turn.
    pub documents: Vec<DocumentRef>,
    /// Other blobs of the generation, such as index files of views.
    pub blobs: Vec<DocumentRef>,
}

/// Why it cannot be said what a document names.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document cannot be read.
    #[error("the document cannot be read")]
    Document(#[from] document::Error),
    /// A kind that only newer software knows.
    #[error("this software does not know documents of kind {0:?}; upgrade this node")]
    UnknownKind(String),
    /// An index is not well-formed.
    #[error("the document names its partitions wrongly")]
    Set(#[from] set::Error),
    /// A field is wrong.
    #[error("the document is not well-formed")]
    Field(#[from] convert::Error),
}

/// Everything that the document `stored` names.
///
/// # Errors
/// It is none, or one that this software does not know.
pub fn references(stored: &Bytes) -> Result<References, Error> {
    let kind = kind_of(stored)?;
    match kind.as_str() {
        wire::Index::KIND => Ok(documents(set::partitions(stored)?)),
        wire::CataloguePartition::KIND => catalogue_partition(decode(stored)?),
        wire::ViewSet::KIND => {
            let set = ViewSet::try_from(decode::<wire::ViewSet>(stored)?)?;
            Ok(documents(set.views.into_values().collect()))
        }
        wire::View::KIND => {
            let view = View::try_from(decode::<wire::View>(stored)?)?;
            let blobs = view.files.into_values().collect();
            Ok(References { blobs, ..documents(vec![view.pools.settled, view.pools.opening]) })
        }
        wire::AdvisoryIndex::KIND => {
            let set = AdvisorySet::try_from(decode::<wire::AdvisoryIndex>(stored)?)?;
            let versions = set.entries.into_values().flat_map(|entry| entry.versions);
            Ok(documents(versions.collect()))
        }
        wire::BaselineSet::KIND => {
            let set = BaselineSet::try_from(decode::<wire::BaselineSet>(stored)?)?;
            Ok(documents(set.indices().collect()))
        }
        wire::Topology::KIND
        | wire::Policy::KIND
        | wire::BaselinePartition::KIND
        | wire::Revision::KIND
        | wire::BindingPartition::KIND
        | wire::PoolPartition::KIND
        | wire::ApprovalPartition::KIND
        | wire::RolloutSet::KIND
        | wire::WaveStates::KIND
        | wire::AssessmentPartition::KIND
        | wire::DeadlineWeightPartition::KIND
        | wire::RevocationPartition::KIND
        | wire::Advisory::KIND => Ok(References::default()),
        _ => Err(Error::UnknownKind(kind.chars().take(64).collect())),
    }
}

fn documents(mut documents: Vec<DocumentRef>) -> References {
    documents.sort_unstable();
    documents.dedup();
    References { documents, blobs: Vec::new() }
}

fn catalogue_partition(partition: wire::CataloguePartition) -> Result<References, Error> {
    let entries =
        convert::each("entries", partition.entries, |entry| convert::reference(entry.document))?;
    Ok(documents(entries))
}
