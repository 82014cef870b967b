//! From what a manifest states to revisions.

use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{Payload, Revision};

use super::manifest::{Entry, Manifest};

/// Every revision of the manifest, sorted by name and version.
pub(super) fn all(manifest: Manifest, source: &SourceName, unsigned: bool) -> Vec<Revision> {
    let mut revisions: Vec<Revision> =
        manifest.revisions.into_iter().map(|entry| revision(entry, unsigned)).collect();
    debug_assert!(revisions.iter().all(|one| one.id.update.source == *source));
    revisions.sort_by(|a, b| a.id.cmp(&b.id));
    revisions
}

fn revision(entry: Entry, unsigned: bool) -> Revision {
    let Entry { id, title, description, architectures, mut facts, payloads, .. } = entry;
    facts.unsigned = unsigned;
    let mut payloads: Vec<Payload> = payloads.into_iter().map(|file| file.payload).collect();
    // Files of one name, architecture and version differ in language or place.
    payloads.sort_by(|a, b| {
        let rest = |one: &Payload| (one.language.clone(), one.filename.clone());
        a.sort_key().cmp(&b.sort_key()).then_with(|| rest(a).cmp(&rest(b)))
    });
    Revision { id, title, description, architectures, payloads, facts }
}
