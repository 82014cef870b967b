//! What earlier generations said, as far as this node still keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::{document, set, wire};
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{View, ViewSet};

use super::load::Error;
use super::{Approvals, Generation, names};
use crate::store::{self, GENERATIONS, METADATA, Store};
use crate::tuf::TargetFile;
use crate::tuf::metadata::Targets;

/// How long a generation's files stay served.
const SERVED: SignedDuration = SignedDuration::from_hours(24);
/// How many generations stay served however old they are.
const SERVED_AT_LEAST: usize = 2;

/// The views of one earlier generation.
#[derive(Debug, Clone)]
pub struct Views {
    /// When the node switched to it.
    pub at: Timestamp,
    /// Its views.
    pub views: BTreeMap<(Stage, GroupName), Arc<View>>,
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
        let at =
            Timestamp::from_millisecond(record.switched_at_millis).unwrap_or(Timestamp::UNIX_EPOCH);
        let is_recent = now.duration_since(at) < SERVED || index + SERVED_AT_LEAST >= count;
        let names_views =
            record.documents.first().and_then(|one| Digest::try_from(one.as_ref()).ok());
        let Some(view_set) = names_views.filter(|_| is_recent && number != present.number) else {
            continue;
        };
        past.push(Views { at, views: read_views(store, &view_set, present)? });
    }
    Ok(past)
}

fn read_views(
    store: &Store,
    view_set: &Digest,
    present: &Generation,
) -> Result<BTreeMap<(Stage, GroupName), Arc<View>>, store::Error> {
    let mut views = BTreeMap::new();
    let Some(set) = read::<wire::ViewSet, ViewSet>(store, view_set)? else { return Ok(views) };
    let mut known: BTreeMap<Digest, Arc<View>> =
        present.views.values().map(|one| (one.document.digest, one.view.clone())).collect();
    for (key, document) in set.views.into_iter().filter(|(key, _)| present.views.contains_key(key))
    {
        let view = match known.get(&document.digest) {
            Some(view) => Some(view.clone()),
            None => read::<wire::View, View>(store, &document.digest)?.map(Arc::new),
        };
        if let Some(view) = view {
            known.insert(document.digest, view.clone());
            views.insert(key, view);
        }
    }
    Ok(views)
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
        let Some(index) = index_of(&bytes, stage) else { continue };
        let Some(index) = store.get_blob(&index.digest)? else { continue };
        let failed = |source| Error::Set { name: names::approvals(stage).to_owned(), source };
        if set::version(&index).map_err(failed)? != version {
            continue;
        }
        let mut partitions = BTreeMap::new();
        for document in set::partitions(&index).map_err(failed)? {
            if let Some(bytes) = store.get_blob(&document.digest)? {
                partitions.insert(document.digest, bytes);
            }
        }
        let set = set::read_approvals(&index, |one| partitions.get(&one.digest).cloned())
            .map_err(failed)?;
        return Ok(Some(Approvals { set: Arc::new(set), digest: Digest::of(&index) }));
    }
    Ok(None)
}

/// The index document that a stage's metadata, verified when it was kept,
/// names.
fn index_of(metadata: &[u8], stage: Stage) -> Option<DocumentRef> {
    let envelope = crate::tuf::envelope::Envelope::<Targets>::parse(metadata).ok()?;
    let targets = &envelope.signed().targets;
    let file: &TargetFile = targets
        .iter()
        .find(|(path, _)| path.as_str() == names::approvals(stage))
        .map(|(_, file)| file)?;
    Some(DocumentRef { digest: Digest::from_bytes(file.blake3()?), length: file.length })
}
