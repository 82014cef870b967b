//! A node's place in the tree while it runs: where it hangs, and whether it
//! is still the primary.

use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Mesh, Role};

use super::recover;
use crate::content;
use crate::generation::{Current, Generation};
use crate::log::in_one_line;
use crate::store::Store;
use crate::succession::Ways;
use crate::succession::watch::{self, Superseded};

/// Nodes that a restored primary fetches payloads from at most: each costs a
/// list of what it should hold.
const MAX_SOURCES: usize = 32;

/// Resolves when this node's role, its parents or the way to one of them becomes
/// another one.
pub(super) async fn moved(name: &NodeName, current: &Current) {
    let mut switches = current.watch_mesh();
    let first = place(&switches.borrow_and_update(), name);
    while switches.changed().await.is_ok() {
        if place(&switches.borrow_and_update(), name) != first {
            return;
        }
    }
    // The node ends.
    std::future::pending().await
}

/// A node and its URL.
type At = (NodeName, Option<String>);

/// Role, and where the parents are.
fn place(mesh: &Mesh, name: &NodeName) -> Option<(Role, Vec<At>)> {
    let this = mesh.node(name)?;
    let url = |parent: &NodeName| mesh.node(parent).map(|parent| parent.url.clone());
    let parents = this.parents().map(|parent| (parent.clone(), url(parent)));
    Some((this.role, parents.collect()))
}

/// Resolves when nodes below follow somebody else.
pub(super) async fn superseded(
    ways: &Ways,
    name: &NodeName,
    current: &Current,
    store: &Store,
) -> Superseded {
    loop {
        tokio::time::sleep(watch::INTERVAL).await;
        let generation = current.get();
        match recover::trusted(store).await {
            Ok((root, at)) => {
                let found = watch::look(ways, name, &generation, &root, at).await;
                // What was published meanwhile is no news.
                let is_ours = |one: &Superseded| match one {
                    Superseded::Behind { theirs, .. } => *theirs <= current.get().timestamp_version,
                    _ => false,
                };
                if let Some(found) = found.filter(|one| !is_ours(one)) {
                    return found;
                }
            }
            Err(error) => tracing::warn!(
                error = in_one_line(&error),
                "it cannot be told whether somebody else signs"
            ),
        }
    }
}

/// The nodes that a restored primary learned from as a source of payloads: they may
/// hold what the backup does not.
pub(super) fn earlier(
    ways: &Ways,
    intake: &content::Intake,
    generation: &Generation,
    names: &[NodeName],
) -> Option<content::Several> {
    let mut sources: Vec<content::Holder> = Vec::new();
    for name in names.iter().take(MAX_SOURCES) {
        let Some(node) = generation.mesh.node(name) else { continue };
        let blobs = generation.wanted_payloads(name);
        match ways.to(name, &node.url) {
            // What it sends is verified piece by piece; the connection stays.
            Ok(channel) => {
                let source = content::Parent::new(name.clone(), intake.clone(), channel, |_| {});
                sources.push((Arc::new(source), blobs));
            }
            Err(error) => {
                tracing::warn!(node = %name, error = in_one_line(&error), "no payloads from there");
            }
        }
    }
    (!sources.is_empty()).then(|| content::Several::new(sources))
}
