//! The views of a generation, and the files of their pools.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use patchmesh_proto::{set, wire};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{FullView, Pool, Pools, View, ViewKey, ViewSet};

use super::super::StoredView;
use super::Error;
use super::loader::Loader;
use crate::signed::document::decode;

/// What pools are kept under, which have no names of their own.
const POOL: &str = "pool";

impl Loader<'_> {
    /// The views of the stages carried, of every set, and their index files at
    /// hand: there are as many as waves in flight, and a node below may need any.
    pub(super) fn views(
        &mut self,
        views: &ViewSet,
        carried: &BTreeSet<Stage>,
    ) -> Result<BTreeMap<ViewKey, Arc<StoredView>>, Error> {
        let previous = || self.previous.into_iter().flat_map(|one| one.views.values());
        let mut read: BTreeMap<Digest, Arc<StoredView>> =
            previous().map(|view| (view.document.digest, view.clone())).collect();
        for (name, pool) in previous().flat_map(pools_of) {
            self.staged.keep(POOL, name.digest, &pool);
        }
        let mut found = BTreeMap::new();
        for (key, document) in views.views.iter().filter(|((stage, ..), _)| carried.contains(stage))
        {
            let (stage, group, _) = key;
            let view = match read.get(&document.digest) {
                Some(view) => view.clone(),
                None => {
                    let view = self.view(document, *stage, group)?;
                    let Some(view) = view else { continue };
                    read.insert(document.digest, view.clone());
                    view
                }
            };
            found.insert(key.clone(), view);
        }
        Ok(found)
    }

    fn view(
        &mut self,
        document: &DocumentRef,
        stage: Stage,
        group: &GroupName,
    ) -> Result<Option<Arc<StoredView>>, Error> {
        let Some(bytes) = self.get(document)? else { return Ok(None) };
        let name = format!("view of {stage} for {group}");
        let view = decode::<wire::View, View>(&name, &bytes)?;
        for file in view.files.values() {
            if !self.staged.has(file)? {
                self.lacking.insert(*file);
            }
        }
        let settled = self.pool(&name, view.pools.settled)?;
        let opening = self.pool(&name, view.pools.opening)?;
        let (Some(settled), Some(opening)) = (settled, opening) else { return Ok(None) };
        let full = FullView { view: Arc::new(view), pools: Pools { settled, opening } };
        Ok(Some(Arc::new(StoredView { document: *document, full })))
    }

    /// The files of a pool: one that is known already, or read from its index.
    fn pool(&mut self, name: &str, index: DocumentRef) -> Result<Option<Arc<Pool>>, Error> {
        if let Some(pool) = self.staged.known(POOL, &index.digest) {
            return Ok(Some(pool));
        }
        let Some(bytes) = self.get(&index)? else { return Ok(None) };
        let pool = self.set(name, &bytes, |lookup| set::read_pool(&bytes, lookup))?.map(Arc::new);
        if let Some(pool) = &pool {
            self.staged.keep(POOL, index.digest, pool);
        }
        Ok(pool)
    }
}

/// The pools of a view that is known.
fn pools_of(stored: &Arc<StoredView>) -> [(DocumentRef, Arc<Pool>); 2] {
    let (names, pools) = (&stored.view().pools, &stored.full.pools);
    [(names.settled, pools.settled.clone()), (names.opening, pools.opening.clone())]
}
