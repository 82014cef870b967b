//! Views: what is open for a stage and group, as repositories for stock clients.
//!
//! A stock client cannot check approvals and waves, so the primary turns them
//! into a signed repository whenever they change; every other node only serves
//! it. This module owns the building of apt views ([`apt`]), of what lies beside
//! the packages ([`files`]), which of the views a node serves ([`standing`]) and
//! what outlives a switch ([`shelf`]); serving is `http`'s business, the model is
//! [`patchmesh_topology::view`].

pub mod apt;
pub mod arrivals;
pub mod files;
pub mod shelf;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{BTreeMap, BTreeSet};

/// The architectures of each dist (a suite as our URLs spell it).
pub type Dists = BTreeMap<String, BTreeSet<String>>;

/// The dists that index files of views have and their architectures: what the next build has to
/// keep, so that no client's `apt-get update` begins to fail.
#[must_use]
pub fn dists<'a>(paths: impl IntoIterator<Item = &'a String>) -> Dists {
    let mut dists = Dists::new();
    for path in paths {
        let mut steps = path.split('/');
        if let (Some("dists"), Some(dist), Some(_), Some(folder)) =
            (steps.next(), steps.next(), steps.next(), steps.next())
            && let Some(architecture) = folder.strip_prefix("binary-")
        {
            dists.entry(dist.to_owned()).or_default().insert(architecture.to_owned());
        }
    }
    dists
}
