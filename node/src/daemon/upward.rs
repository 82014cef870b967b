//! A node's way to its parent.
//!
//! Payloads have a connection of their own: documents never wait behind
//! gigabytes, and when the parent sends what it must not that connection is
//! dropped and made anew.

use std::sync::Arc;

use patchmesh_topology::name::NodeName;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::{Error, near};
use crate::alerts::Alerts;
use crate::budget::Budget;
use crate::content::{self, Conduct, PieceSource};
use crate::generation::Generation;
use crate::identity::tls::{self, Credentials, Expected};
use crate::log::in_one_line;
use crate::transport::address::NodeUrl;
use crate::transport::channel;

/// Where the content learns its source from.
pub(super) type Source = watch::Sender<Option<Arc<dyn PieceSource>>>;

/// The parent and how it is reached.
pub(super) struct Upward {
    parent: NodeName,
    url: NodeUrl,
    tls: Arc<ClientConfig>,
    budget: Budget,
}

impl Upward {
    /// The way to the parent of `name`; `None` on the primary.
    pub(super) fn of(
        generation: &Generation,
        name: &NodeName,
        ca: &CertificateDer<'static>,
        credentials: &Arc<Credentials>,
        budget: &Budget,
    ) -> Result<Option<Arc<Self>>, Error> {
        let this = generation.mesh.node(name).ok_or_else(|| Error::NotInMesh(name.clone()))?;
        let Some(parent) = &this.parent else { return Ok(None) };
        let node = generation.mesh.node(parent).ok_or_else(|| Error::NotInMesh(parent.clone()))?;
        let url = node.url.parse().map_err(Error::ParentUrl)?;
        let tls = tls::client(ca, Some(credentials.clone()), Expected::Node(parent.clone()))?;
        Ok(Some(Arc::new(Self { parent: parent.clone(), url, tls, budget: budget.clone() })))
    }

    pub(super) const fn parent(&self) -> &NodeName {
        &self.parent
    }

    /// A new connection.
    pub(super) fn channel(&self) -> Result<Channel, Error> {
        let meter = Some(self.budget.meter(&self.parent));
        Ok(channel::to_metered_node(&self.url, self.tls.clone(), meter)?)
    }

    /// Makes the parent the source of payloads, over a new connection.
    pub(super) fn offer_payloads(
        self: &Arc<Self>,
        intake: &content::Intake,
        source: &Arc<Source>,
        alerts: &Alerts,
    ) {
        let channel = match self.channel() {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(error = in_one_line(&error), "no payloads can be fetched");
                return;
            }
        };
        let (way, source_again) = (self.clone(), Arc::downgrade(source));
        let (again, told) = (intake.clone(), alerts.clone());
        let on_conduct = move |conduct| {
            near::tell(&told, &way.parent, conduct);
            if conduct == Conduct::Lied
                && let Some(source) = source_again.upgrade()
            {
                way.offer_payloads(&again, &source, &told);
            }
        };
        let parent = content::Parent::new(self.parent.clone(), intake.clone(), channel, on_conduct);
        source.send_replace(Some(Arc::new(parent)));
    }
}
