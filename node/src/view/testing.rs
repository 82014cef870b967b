//! Views for tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::set;
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::view::{FullView, Pool, Pools, View};

/// A view whose pool has settled.
pub(crate) fn full(
    signed_at: Timestamp,
    files: BTreeMap<String, DocumentRef>,
    pool: Pool,
) -> FullView {
    let [settled, opening] = [&pool, &Pool::new()].map(|pool| set::cut_pool(pool).reference());
    let view =
        View { signed_at, files, pools: Pools { settled, opening }, withheld: BTreeMap::new() };
    let pools = Pools { settled: Arc::new(pool), opening: Arc::default() };
    FullView { view: Arc::new(view), pools }
}
