//! Taking over the newest state that any node holds.
//!
//! No single node has all of it: a production branch has no documents of the
//! validation stage, and none has the revisions that nobody approved. So each
//! document is asked of all that answered. Views can be built again, so they
//! may lack; a revision that nobody has leaves the catalogue until its source
//! is synchronised again. Decisions never lack: every node has them all.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::revision::{DocumentRef, RevisionId};

use super::ask::Word;
use super::census::Heard;
use crate::generation::Generation;
use crate::generation::load::{self, Loaded, Staged};
use crate::log::in_one_line;
use crate::primary::draft::Draft;
use crate::store::{self, Store};

/// How many times documents lead to further documents, as this node and as
/// the one that holds them.
const MAX_DEPTH: usize = 12;

/// Why the newest state could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("what node {node} holds cannot be used")]
    Load {
        /// Who holds it.
        node: NodeName,
        /// Why.
        source: load::Error,
    },
    /// Documents that nobody has.
    #[error(
        "{count} documents of the generation that node {node} is in are held by no node that answers"
    )]
    Lacking {
        /// Who is in it.
        node: NodeName,
        /// How many.
        count: usize,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A worker thread ended abnormally.
    #[error("a worker thread ended abnormally")]
    Thread(#[from] tokio::task::JoinError),
}

/// The newest state, as far as it was to be had.
#[derive(Debug)]
pub struct Adopted {
    /// What it says; views of stages that nobody below carries are missing.
    pub generation: Arc<Generation>,
    /// Its documents that are not in the store.
    documents: Vec<(DocumentRef, Bytes)>,
    /// Revisions whose documents nobody has.
    pub lost: Vec<RevisionId>,
}

impl Adopted {
    /// What this node had already.
    #[must_use]
    pub const fn own(generation: Arc<Generation>) -> Self {
        Self { generation, documents: Vec::new(), lost: Vec::new() }
    }

    /// The draft that goes on from it: with all that was fetched, and without
    /// what nobody has.
    #[must_use]
    pub fn draft(&mut self, store: &Store, now: Timestamp) -> Draft {
        let mut draft = Draft::of(&self.generation, store.clone(), now);
        for (_, bytes) in std::mem::take(&mut self.documents) {
            draft.add_document(bytes);
        }
        if !self.lost.is_empty() {
            Arc::make_mut(&mut draft.catalogue).retain(|id, _| !self.lost.contains(id));
        }
        draft
    }
}

/// Gathers the documents of what `node` holds from everybody who answered.
///
/// # Errors
/// See [`Error`]; nothing was changed.
pub async fn adopt(
    store: &Store,
    own: &NodeName,
    node: &NodeName,
    word: &Word,
    heard: &Heard,
) -> Result<Adopted, Error> {
    let mut staged = Staged::new(store, Vec::new());
    let mut absent = HashSet::new();
    // As the primary, who carries all; else as the node that holds it.
    let mut reader = own;
    let mut generation = None;
    for _ in 0..MAX_DEPTH {
        let (trusted, name) = (word.trusted.clone(), reader.clone());
        let (loaded, given_back) = tokio::task::spawn_blocking(move || {
            (load::load(&trusted, &name, &staged, None), staged)
        })
        .await?;
        staged = given_back;
        let loaded = loaded.map_err(|source| Error::Load { node: node.clone(), source })?;
        match loaded {
            Loaded::Whole(found) => {
                generation = Some(*found);
                break;
            }
            Loaded::Lacking(wanted) => {
                fetch(&wanted, word, heard, &mut staged, &mut absent).await;
                let lacks = wanted.iter().filter(|one| absent.contains(&one.digest)).count();
                if lacks > 0 && reader == node {
                    return Err(Error::Lacking { node: node.clone(), count: lacks });
                }
                if lacks > 0 {
                    reader = node;
                }
            }
        }
    }
    let Some(generation) = generation else {
        return Err(Error::Lacking { node: node.clone(), count: absent.len() });
    };
    let mut missing = Vec::new();
    for (id, entry) in generation.catalogue.iter() {
        if !staged.has(&entry.document)? {
            missing.push((id.clone(), entry.document));
        }
    }
    let wanted: Vec<DocumentRef> = missing.iter().map(|(_, document)| *document).collect();
    fetch(&wanted, word, heard, &mut staged, &mut absent).await;
    let lost = missing.into_iter().filter(|(_, document)| absent.contains(&document.digest));
    let lost = lost.map(|(id, _)| id).collect();
    Ok(Adopted { generation: Arc::new(generation), documents: staged.into_documents(), lost })
}

/// Asks one node after the other for what lacks, the newest first. What
/// nobody has goes into `absent`.
async fn fetch(
    wanted: &[DocumentRef],
    newest: &Word,
    heard: &Heard,
    staged: &mut Staged,
    absent: &mut HashSet<Digest>,
) {
    let mut rest: Vec<DocumentRef> =
        wanted.iter().filter(|one| !absent.contains(&one.digest)).copied().collect();
    let others = heard.words.values().filter(|one| one.way.name() != newest.way.name());
    for word in std::iter::once(newest).chain(others) {
        if rest.is_empty() {
            return;
        }
        match word.way.held_documents(&rest).await {
            Ok(held) => {
                let found: HashSet<Digest> = held.iter().map(|(one, _)| one.digest).collect();
                rest.retain(|one| !found.contains(&one.digest));
                held.into_iter().for_each(|(document, bytes)| staged.add(document, bytes));
            }
            Err(error) => tracing::warn!(
                node = %word.way.name(),
                error = in_one_line(&error),
                "documents could not be had from a node; the next one is asked"
            ),
        }
    }
    absent.extend(rest.into_iter().map(|one| one.digest));
}
