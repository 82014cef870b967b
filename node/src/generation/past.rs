//! What earlier generations said, as far as this node still keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use patchmesh_proto::{document, set, wire};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{FullView, Pool, Pools, View, ViewSet};

use super::load::Error;
use super::retention::stays_served;
use super::{Approvals, Generation, storage};
use crate::signed::names;
use crate::store::{self, GENERATIONS, METADATA, Store};

/// The views of one earlier generation.
#[derive(Debug, Clone)]
pub struct Views {
    /// When the node switched to it.
    pub at: Timestamp,
    /// Its views, by stage and group, of every set.
    pub views: BTreeMap<(Stage, GroupName), Vec<FullView>>,
}

/// The views of earlier generations that have to be served still, oldest
/// first, without those of the present one.
///
/// # Errors
/// A failing store. Documents that cannot be read are left out: they only
/// serve clients in mid-update.
pub fn views(store: &Store, present: &Generation) -> Result<Vec<Views>, store::Error> {
    let records = store.scan(&GENERATIONS)?;
    let now = Timestamp::now();
    let count = records.len();
    let mut past = Vec::new();
    for (index, (number, record)) in records.into_iter().enumerate() {
        let is_recent = stays_served(count - index, &record, now);
        let names_views =
            record.documents.first().and_then(|one| Digest::try_from(one.as_ref()).ok());
        let Some(view_set) = names_views.filter(|_| is_recent && number != present.number) else {
            continue;
        };
        past.push(Views {
            at: storage::switched_at(&record),
            views: read_views(store, &view_set, present)?,
        });
    }
    Ok(past)
}

fn read_views(
    store: &Store,
    view_set: &Digest,
    present: &Generation,
) -> Result<BTreeMap<(Stage, GroupName), Vec<FullView>>, store::Error> {
    let mut views: BTreeMap<_, Vec<FullView>> = BTreeMap::new();
    let Some(set) = read::<wire::ViewSet, ViewSet>(store, view_set)? else { return Ok(views) };
    let mut known: BTreeMap<Digest, FullView> =
        present.views.values().map(|one| (one.document.digest, one.full.clone())).collect();
    let groups: BTreeSet<_> =
        present.views.keys().map(|(stage, group, _)| (*stage, group)).collect();
    for ((stage, group, _), document) in set.views {
        if !groups.contains(&(stage, &group)) {
            continue;
        }
        let view = match known.get(&document.digest) {
            Some(view) => Some(view.clone()),
            None => read_view(store, &document.digest)?,
        };
        if let Some(view) = view {
            known.insert(document.digest, view.clone());
            views.entry((stage, group)).or_default().push(view);
        }
    }
    Ok(views)
}

fn read_view(store: &Store, document: &Digest) -> Result<Option<FullView>, store::Error> {
    let Some(view) = read::<wire::View, View>(store, document)? else { return Ok(None) };
    let settled = read_pool(store, &view.pools.settled.digest)?;
    let opening = read_pool(store, &view.pools.opening.digest)?;
    let (Some(settled), Some(opening)) = (settled, opening) else { return Ok(None) };
    Ok(Some(FullView { view: Arc::new(view), pools: Pools { settled, opening } }))
}

fn read_pool(store: &Store, index: &Digest) -> Result<Option<Arc<Pool>>, store::Error> {
    let Some(index) = store.get_blob(index)? else { return Ok(None) };
    let named = set::partitions(&index).unwrap_or_default();
    let partitions = partitions(store, named)?;
    let pool = set::read_pool(&index, |one| partitions.get(&one.digest).cloned());
    Ok(pool.ok().map(Arc::new))
}

/// Those documents that this node still keeps.
fn partitions(
    store: &Store,
    named: Vec<DocumentRef>,
) -> Result<BTreeMap<Digest, Bytes>, store::Error> {
    let mut found = BTreeMap::new();
    for document in named {
        found.extend(store.get_blob(&document.digest)?.map(|bytes| (document.digest, bytes)));
    }
    Ok(found)
}

fn read<W, M>(store: &Store, digest: &Digest) -> Result<Option<M>, store::Error>
where
    W: document::Document,
    M: TryFrom<W>,
{
    let Some(bytes) = store.get_blob(digest)? else { return Ok(None) };
    Ok(document::decode::<W>(&bytes).ok().and_then(|message| M::try_from(message).ok()))
}

/// An approval set of an earlier version, if this node still keeps it.
///
/// # Errors
/// What is kept but cannot be read.
pub fn approvals(store: &Store, stage: Stage, version: u64) -> Result<Option<Approvals>, Error> {
    for (_, record) in store.scan(&GENERATIONS)?.into_iter().rev() {
        let file = record.metadata.iter().find(|file| file.ends_with(&format!(".{stage}.json")));
        let Some(bytes) = file.map(|file| store.get(&METADATA, file)).transpose()?.flatten() else {
            continue;
        };
        let mut named = storage::named_by(&bytes).into_iter();
        let index = named.find(|(path, _)| path == names::approvals(stage));
        let Some((_, index)) = index else { continue };
        let Some(index) = store.get_blob(&index.digest)? else { continue };
        let failed = |source| Error::Set { name: names::approvals(stage).to_owned(), source };
        if set::version(&index).map_err(failed)? != version {
            continue;
        }
        let partitions = partitions(store, set::partitions(&index).map_err(failed)?)?;
        let set = set::read_approvals(&index, |one| partitions.get(&one.digest).cloned())
            .map_err(failed)?;
        return Ok(Some(Approvals { set: Arc::new(set), digest: Digest::of(&index) }));
    }
    Ok(None)
}
