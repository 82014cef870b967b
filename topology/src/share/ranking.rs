//! Rendezvous hashing: every node ranks all nodes for a run alike.
//!
//! The highest random weight wins (Thaler and Ravishankar, 1996). Nobody has to
//! know who was there before, and a node that comes or goes moves nothing but
//! its own share.

use std::collections::BTreeSet;

use super::{Beside, Source};
use crate::digest::Digest;
use crate::name::NodeName;
use crate::node::Mesh;

/// The most nodes that share with one: each keeps a connection to every other.
/// A larger site is cut into parts, and each part asks above.
pub const MAX_BESIDE: usize = 31;

/// Whom a parent tells `node` of: the nodes of its site among those that follow
/// the parent now.
#[must_use]
pub fn beside(mesh: &Mesh, present: &BTreeSet<NodeName>, node: &NodeName) -> Vec<NodeName> {
    let Some(this) = mesh.node(node) else { return Vec::new() };
    let is_here = |name: &&NodeName| {
        mesh.node(name).is_some_and(|other| other.site == this.site && other.is_joined())
    };
    let here: Vec<&NodeName> = present.iter().filter(is_here).collect();
    let Some(place) = here.iter().position(|name| *name == node) else { return Vec::new() };
    let size = MAX_BESIDE + 1;
    let part = here.chunks(size).nth(place / size).unwrap_or_default();
    part.iter().filter(|name| **name != node).map(|name| (*name).clone()).collect()
}

/// Who is asked for a run of a blob, as the node `own` sees it, best first. Its
/// own place among the others is that of the node above. Those that hold the
/// whole blob come before all who would have to fetch it.
#[must_use]
pub fn ranking(blob: &Digest, own: &NodeName, beside: &[Beside], run: u64) -> Vec<Source> {
    let others = beside.iter().enumerate();
    let others = others.map(|(number, one)| (one.holds, &one.name, Source::Beside(number)));
    let mut ranked: Vec<_> = std::iter::once((false, own, Source::Above))
        .chain(others)
        .map(|(holds, name, source)| (holds, weight(blob, run, name), name, source))
        .collect();
    ranked.sort_by(|one, other| {
        let key = |(holds, weight, name, _): &(bool, u64, &NodeName, Source)| {
            (*holds, *weight, (*name).clone())
        };
        key(other).cmp(&key(one))
    });
    ranked.into_iter().map(|(.., source)| source).collect()
}

fn weight(blob: &Digest, run: u64, name: &NodeName) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(blob.as_bytes());
    hasher.update(&run.to_le_bytes());
    hasher.update(name.as_str().as_bytes());
    let mut weight = [0; 8];
    hasher.finalize_xof().fill(&mut weight);
    u64::from_le_bytes(weight)
}
