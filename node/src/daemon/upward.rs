//! A node's ways to its parents.
//!
//! Payloads have a connection of their own: documents never wait behind
//! gigabytes, and when the parent sends what it must not that connection is
//! dropped and made anew, or another parent is followed.

use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::{Error, near};
use crate::alerts::Alerts;
use crate::budget::Budget;
use crate::content::{self, Conduct, PieceSource};
use crate::generation::Generation;
use crate::identity::tls::{self, Credentials, Expected};
use crate::log::in_one_line;
use crate::replicate::parents::{Parents, Way};

/// Where the content learns its source from.
pub(super) type Source = watch::Sender<Option<Arc<dyn PieceSource>>>;

/// The ways to the parents of `name`; `None` on the primary.
pub(super) fn parents(
    generation: &Generation,
    name: &NodeName,
    ca: &CertificateDer<'static>,
    credentials: &Arc<Credentials>,
    budget: &Budget,
) -> Result<Option<Parents>, Error> {
    let mesh = &generation.mesh;
    let this = mesh.node(name).ok_or_else(|| Error::NotInMesh(name.clone()))?;
    let Some(parent) = &this.parent else { return Ok(None) };
    let way = |parent: &NodeName| {
        let node = mesh.node(parent).ok_or_else(|| Error::NotInMesh(parent.clone()))?;
        let url = node.url.parse().map_err(Error::ParentUrl)?;
        let tls = tls::client(ca, Some(credentials.clone()), Expected::Node(parent.clone()))?;
        Ok::<_, Error>(Way { name: parent.clone(), url, tls, meter: budget.meter(parent) })
    };
    let is_member = |parent: &&NodeName| mesh.node(parent).is_some_and(|node| node.is_joined());
    let others = this.fallback_parents.iter().filter(is_member).map(way);
    Ok(Some(Parents::new(way(parent)?, others.collect::<Result<_, _>>()?)))
}

/// Makes whichever parent is followed the source of payloads.
#[derive(Clone)]
pub(super) struct Payloads {
    pub(super) parents: Parents,
    pub(super) intake: content::Intake,
    pub(super) source: Arc<Source>,
    pub(super) alerts: Alerts,
}

impl Payloads {
    /// Does so for as long as it is let.
    pub(super) async fn offer(self) {
        let mut changes = self.parents.watch();
        loop {
            changes.borrow_and_update();
            self.offer_current();
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Makes the parent the source, over a new connection.
    fn offer_current(&self) {
        let place = self.parents.at();
        let name = self.parents.way(place).name.clone();
        let channel = match self.parents.channel_to(place) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(error = in_one_line(&error), "no payloads can be fetched");
                return;
            }
        };
        // The source holds this, so this must not hold the source.
        let (parents, intake, alerts) =
            (self.parents.clone(), self.intake.clone(), self.alerts.clone());
        let (source, liar) = (Arc::downgrade(&self.source), name.clone());
        let on_conduct = move |conduct| {
            near::tell(&alerts, &liar, conduct);
            let Some(source) = source.upgrade().filter(|_| conduct == Conduct::Lied) else {
                return;
            };
            let (parents, intake, alerts) = (parents.clone(), intake.clone(), alerts.clone());
            parents.shun(&liar);
            if parents.current().name == liar {
                Self { parents, intake, source, alerts }.offer_current();
            }
        };
        let parent = content::Parent::new(name, self.intake.clone(), channel, on_conduct);
        self.source.send_replace(Some(Arc::new(parent)));
    }
}
