//! Documents on their way into the store.

use std::collections::HashMap;

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::revision::DocumentRef;

use crate::store::{self, Store};

/// The documents at hand: those fetched or written but not yet committed,
/// over those in the store.
#[derive(Debug)]
pub struct Staged {
    store: Store,
    documents: HashMap<Digest, (DocumentRef, Bytes)>,
}

impl Staged {
    /// `documents` over `store`.
    #[must_use]
    pub fn new(store: &Store, documents: Vec<(DocumentRef, Bytes)>) -> Self {
        let documents =
            documents.into_iter().map(|(name, bytes)| (name.digest, (name, bytes))).collect();
        Self { store: store.clone(), documents }
    }

    /// Adds a document whose bytes were checked against its name.
    pub fn add(&mut self, name: DocumentRef, bytes: Bytes) {
        self.documents.insert(name.digest, (name, bytes));
    }

    /// The documents that are not in the store yet.
    #[must_use]
    pub fn into_documents(self) -> Vec<(DocumentRef, Bytes)> {
        self.documents.into_values().collect()
    }

    pub(super) fn get(&self, name: &DocumentRef) -> Result<Option<Bytes>, store::Error> {
        match self.documents.get(&name.digest) {
            Some((_, bytes)) => Ok(Some(bytes.clone())),
            None => self.store.get_blob(&name.digest),
        }
    }

    pub(crate) fn has(&self, name: &DocumentRef) -> Result<bool, store::Error> {
        Ok(self.documents.contains_key(&name.digest) || self.store.has(&name.digest)?)
    }
}
