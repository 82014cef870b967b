//! Which sites lack content, and when they will have it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_topology::link::arrival::arrivals;
use patchmesh_topology::name::{NodeName, Site};

use crate::generation::Generation;
use crate::rpc::context::Context;

/// What a site lacks, and when it will have it; `None`: nobody can say.
struct Lacks {
    payloads: u64,
    bytes: u64,
    until: Option<Timestamp>,
}

/// Sites whose nodes lack content, as they said themselves, with what they lack and
/// when it will be there by the schedules of the lines above. Of several nodes of a site
/// the one that has it last.
pub(super) fn unready(
    node: &Context,
    generation: &Generation,
    now: Timestamp,
) -> BTreeMap<Site, String> {
    let mesh = &generation.mesh;
    let mut lacking: BTreeMap<NodeName, (u64, u64)> = BTreeMap::new();
    for (name, heard) in node.statuses.all() {
        let status = heard.status;
        let payloads = status.payloads_wanted.saturating_sub(status.payloads_held);
        let bytes = status.bytes_wanted.saturating_sub(status.bytes_held);
        if payloads > 0 {
            lacking.insert(name, (payloads, bytes));
        }
    }
    let left = lacking.iter().map(|(name, (_, bytes))| (name.clone(), *bytes)).collect();
    let arrivals = arrivals(mesh, &left, now);
    let mut sites: BTreeMap<Site, Lacks> = BTreeMap::new();
    for (name, (payloads, bytes)) in &lacking {
        let Some(node) = mesh.node(name) else { continue };
        let until = arrivals.get(name).copied().flatten();
        let lacks = Lacks { payloads: *payloads, bytes: *bytes, until };
        let last = |until: Option<Timestamp>| (until.is_none(), until);
        match sites.get(&node.site) {
            Some(known) if last(known.until) >= last(until) => {}
            _ => drop(sites.insert(node.site.clone(), lacks)),
        }
    }
    sites.into_iter().map(|(site, lacks)| (site, lacks.describe())).collect()
}

impl Lacks {
    fn describe(&self) -> String {
        let megabytes = self.bytes.div_ceil(1_000_000);
        let payloads = match self.payloads {
            1 => "a payload".to_owned(),
            payloads => format!("{payloads} payloads"),
        };
        let when = match self.until {
            Some(at) => format!("there at {at:.0} by the schedule of its lines"),
            None => "no limit of its lines says when".to_owned(),
        };
        format!("{payloads}, {megabytes} MB; {when}")
    }
}
