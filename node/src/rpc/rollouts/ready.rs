//! Which sites lack content that rollouts wait for, and when they will have it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_proto::convert::awaited;
use patchmesh_proto::replication::NodeStatus;
use patchmesh_topology::link::arrival::arrivals;
use patchmesh_topology::name::{NodeName, RolloutName, Site};
use patchmesh_topology::rollout::Rollout;
use patchmesh_topology::view::awaited::Awaited;

use crate::generation::Generation;
use crate::rpc::context::Context;

/// What a site lacks, and when it will have it; `None`: nobody can say.
struct Lacks {
    payloads: u64,
    bytes: u64,
    until: Option<Timestamp>,
}

/// Sites whose nodes lack content, as they said themselves.
#[derive(Default)]
pub(super) struct Unready {
    /// What they lack of all, and when it will be there by the schedules of the
    /// lines above. Of several nodes of a site the one that has it last.
    sites: BTreeMap<Site, String>,
    awaited: BTreeMap<Site, BTreeSet<Awaited>>,
}

impl Unready {
    /// As this node has heard, and knows of itself.
    pub(super) fn of(node: &Context, generation: &Generation, now: Timestamp) -> Self {
        let heard = node.statuses.all().into_iter().map(|(name, heard)| (name, heard.status));
        let own = (node.name.clone(), node.own.at(now));
        let words: Vec<(NodeName, NodeStatus)> = heard.chain([own]).collect();
        let mut awaiting: BTreeMap<Site, BTreeSet<Awaited>> = BTreeMap::new();
        for (name, word) in &words {
            if let Some(node) = generation.mesh.node(name) {
                awaiting.entry(node.site.clone()).or_default().insert(awaited(&word.awaited));
            }
        }
        Self { sites: lacking(&words, generation, now), awaited: awaiting }
    }

    /// Where a rollout waits for content; of what no plan opens all that is lacked.
    pub(super) fn for_rollout(&self, rollout: &Rollout) -> BTreeMap<Site, String> {
        let awaits = |site: &Site| {
            let mut nodes = self.awaited.get(site).into_iter().flatten();
            rollout.is_default() || nodes.any(|one| one.from(&rollout.name).is_some())
        };
        let sites = self.sites.iter().filter(|(site, _)| awaits(site));
        sites.map(|(site, text)| (site.clone(), text.clone())).collect()
    }

    /// Why what `rollout` opened by an approval of that time is not served by some
    /// node of a site.
    pub(super) fn why(
        &self,
        site: &Site,
        rollout: &RolloutName,
        approved: Timestamp,
    ) -> Option<String> {
        let mut nodes = self.awaited.get(site).into_iter().flatten();
        let holds = nodes.any(|one| one.holds(rollout, approved));
        let lacks = || self.sites.get(site).map_or_else(String::new, |text| format!(" ({text})"));
        holds.then(|| format!("it is not served before its content has arrived there{}", lacks()))
    }
}

fn lacking(
    words: &[(NodeName, NodeStatus)],
    generation: &Generation,
    now: Timestamp,
) -> BTreeMap<Site, String> {
    let mesh = &generation.mesh;
    let mut lacking: BTreeMap<NodeName, (u64, u64)> = BTreeMap::new();
    for (name, status) in words {
        let payloads = status.payloads_wanted.saturating_sub(status.payloads_held);
        let bytes = status.bytes_wanted.saturating_sub(status.bytes_held);
        if payloads > 0 {
            lacking.insert(name.clone(), (payloads, bytes));
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
