//! Documents on their way into the store.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

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
    /// What was made of documents already, so that what is loaded again for
    /// something else that lacked is not made again.
    read: RefCell<HashMap<(String, Digest), Arc<dyn Any + Send + Sync>>>,
}

impl Staged {
    /// `documents` over `store`.
    #[must_use]
    pub fn new(store: &Store, documents: Vec<(DocumentRef, Bytes)>) -> Self {
        let documents =
            documents.into_iter().map(|(name, bytes)| (name.digest, (name, bytes))).collect();
        Self { store: store.clone(), documents, read: RefCell::default() }
    }

    /// Adds a document whose bytes were checked against its name.
    pub fn add(&mut self, name: DocumentRef, bytes: Bytes) {
        self.documents.insert(name.digest, (name, bytes));
    }

    /// The documents that were added; some may be in the store already.
    #[must_use]
    pub fn into_documents(self) -> Vec<(DocumentRef, Bytes)> {
        self.documents.into_values().collect()
    }

    /// What was made of the document that a name leads to.
    pub(super) fn known<T: Any + Send + Sync>(
        &self,
        name: &str,
        document: &Digest,
    ) -> Option<Arc<T>> {
        let read = self.read.borrow().get(&(name.to_owned(), *document)).cloned();
        read?.downcast().ok()
    }

    /// Keeps it for the next time.
    pub(super) fn keep<T: Any + Send + Sync>(&self, name: &str, document: Digest, read: &Arc<T>) {
        self.read.borrow_mut().insert((name.to_owned(), document), read.clone());
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
