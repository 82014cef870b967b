//! The nodes beside this one, and the ways to them.
//!
//! The parent says who follows it at this site ([`Follower::near`]); the mesh
//! document says whether they are members, where they are, and whether they carry
//! what this node carries. Each has one connection for as long as all of that
//! stays as it is. A node that lied is left out for a while, and a person is told.
//!
//! [`Follower::near`]: crate::replicate::follow::Follower::near

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use patchmesh_topology::alert::Severity;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::{Membership, Mesh};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::alerts::Alerts;
use crate::content::{self, Conduct, Content, Intake, PieceSource};
use crate::generation::Current;
use crate::log::in_one_line;
use crate::succession::Ways;

/// How long a node that lied is not asked. Its disk may be failing, or somebody
/// has broken in: in both cases a person has to look.
const QUARANTINE: Duration = Duration::from_secs(30 * 60);

/// What connects this node to those beside it.
pub(super) struct Beside {
    pub(super) name: NodeName,
    pub(super) ways: Ways,
    pub(super) intake: Intake,
    pub(super) content: Content,
    pub(super) current: Current,
    pub(super) alerts: Alerts,
}

/// A node as the mesh document knows it: another key or address is another node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    url: String,
    key: Sha256,
}

/// A node that can be asked, until this is dropped.
struct Way {
    known: Known,
    source: Arc<dyn PieceSource>,
    _stop: DropGuard,
}

/// Until when nodes that lied are not asked.
type Quarantine = Arc<Mutex<BTreeMap<NodeName, Instant>>>;

impl Beside {
    /// Keeps the ways as the parent and the mesh document say, for ever.
    pub(super) async fn keep(self, mut told: watch::Receiver<BTreeSet<NodeName>>) {
        let (mut ways, quarantine) = (BTreeMap::new(), Quarantine::default());
        let (lied, mut liars) = watch::channel(());
        let mut mesh = self.current.watch_mesh();
        loop {
            let names = told.borrow_and_update().clone();
            let known = members(&mesh.borrow_and_update(), &self.name, &names);
            let next = release(&quarantine);
            self.renew(&mut ways, known, &quarantine, &lied);
            tokio::select! {
                Ok(()) = told.changed() => {}
                Ok(()) = mesh.changed() => {}
                Ok(()) = liars.changed() => {}
                () = until(next) => {}
                // The node ends.
                else => return,
            }
        }
    }

    /// Drops the ways that are as they were no more, and makes those that lack.
    fn renew(
        &self,
        ways: &mut BTreeMap<NodeName, Way>,
        mut known: BTreeMap<NodeName, Known>,
        quarantine: &Quarantine,
        lied: &watch::Sender<()>,
    ) {
        let shut_out = quarantine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.retain(|name, _| !shut_out.contains_key(name));
        let before: Vec<NodeName> = ways.keys().cloned().collect();
        ways.retain(|name, way| known.get(name) == Some(&way.known));
        for (name, known) in known {
            if !ways.contains_key(&name)
                && let Some(way) = self.way(&name, known, quarantine, lied)
            {
                ways.insert(name, way);
            }
        }
        let now: Vec<NodeName> = ways.keys().cloned().collect();
        if now != before {
            tracing::info!(nodes = now.len(), "nodes beside this one share what they fetch");
        }
        let nodes = ways.iter().map(|(name, way)| (name.clone(), way.source.clone()));
        self.content.set_near(self.name.clone(), nodes.collect());
    }

    fn way(
        &self,
        name: &NodeName,
        known: Known,
        quarantine: &Quarantine,
        lied: &watch::Sender<()>,
    ) -> Option<Way> {
        let channel = match self.ways.to(name, &known.url) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(node = %name, error = in_one_line(&error), "no way to a node beside");
                return None;
            }
        };
        let stop = CancellationToken::new();
        let (liar, quarantine, lied) = (name.clone(), quarantine.clone(), lied.clone());
        let alerts = self.alerts.clone();
        let on_conduct = move |conduct| {
            tell(&alerts, &liar, conduct);
            if conduct == Conduct::Lied {
                let mut quarantine = quarantine.lock().unwrap_or_else(PoisonError::into_inner);
                quarantine.insert(liar.clone(), Instant::now() + QUARANTINE);
                lied.send_replace(());
            }
        };
        let source = content::Parent::new(name.clone(), self.intake.clone(), channel, on_conduct);
        let source = Arc::new(source.beside(stop.clone()));
        Some(Way { known, source, _stop: stop.drop_guard() })
    }
}

/// Tells a person of a source that lied, until it brings what is right.
pub(super) fn tell(alerts: &Alerts, name: &NodeName, conduct: Conduct) {
    let key = format!("liar/{name}");
    match conduct {
        Conduct::Lied => alerts.raise(
            &key,
            Severity::Critical,
            &format!(
                "{name} sent bytes that are not what their digest says; they were not kept. \
                 Verify its blobs (`patchmesh blob verify` there), its disk and memory, and who \
                 can reach it"
            ),
        ),
        Conduct::Honest => alerts.clear(&key),
    }
}

/// Those of `names` that are members and need what the node `own` needs.
fn members(mesh: &Mesh, own: &NodeName, names: &BTreeSet<NodeName>) -> BTreeMap<NodeName, Known> {
    let Some(this) = mesh.node(own) else { return BTreeMap::new() };
    let carried = mesh.carried(own);
    let known = |name: &NodeName| {
        let node = mesh.node(name).filter(|node| node.name != *own && node.site == this.site)?;
        let Membership::Joined(key) = node.membership else { return None };
        // All of them see the same here, so they agree on who shares with whom.
        (mesh.carried(name) == carried)
            .then(|| (name.clone(), Known { url: node.url.clone(), key }))
    };
    names.iter().filter_map(known).collect()
}

/// Forgets those whose time is over; when the next one's is.
fn release(quarantine: &Quarantine) -> Option<Instant> {
    let mut quarantine = quarantine.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    quarantine.retain(|_, until| *until > now);
    quarantine.values().min().copied()
}

async fn until(next: Option<Instant>) {
    match next {
        Some(next) => sleep_until(next).await,
        None => std::future::pending().await,
    }
}
