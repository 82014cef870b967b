//! Who is let in here and now: the rule ([`super::peer`]) with the mesh document that this
//! node holds, and with what it knows of machines' certificates ([`super::machines`]). Each
//! refusal is reported once.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use patchmesh_topology::node::Mesh;
use tokio::sync::watch;

use super::certificate::{Certificate, Subject};
use super::machines::Machines;
use super::peer::{self, Peer, Refusal};
use super::sealed::issued_at;

/// How many refusals are remembered so that each is logged once. When there
/// are more, all are forgotten: the log may repeat itself then, memory stays
/// bounded.
const MAX_REPORTED: usize = 1024;

/// The rule together with what it needs to know.
pub struct PeerPolicy {
    mesh: watch::Receiver<Arc<Mesh>>,
    machines: Option<Machines>,
    reported: Mutex<HashSet<(String, &'static str)>>,
}

impl PeerPolicy {
    /// A policy over the mesh document as it changes. A node that holds none
    /// yet starts with a mesh of its own id and no nodes.
    #[must_use]
    pub fn new(mesh: watch::Receiver<Arc<Mesh>>) -> Self {
        Self { mesh, machines: None, reported: Mutex::default() }
    }

    /// Judges machines by what is known of their certificates as well.
    #[must_use]
    pub fn knowing(self, machines: Machines) -> Self {
        Self { machines: Some(machines), ..self }
    }

    /// Lets the holder of a certificate in, or says why not. The first refusal
    /// of a peer for a reason is logged.
    ///
    /// # Errors
    /// The reason, fit to be sent to the peer.
    pub fn admit(&self, certificate: &Certificate, now: Timestamp) -> Result<Peer, Refusal> {
        self.judge(certificate, now).inspect_err(|refusal| {
            let peer = certificate.subject.to_string();
            if self.is_first(&peer, refusal.reason()) {
                tracing::warn!(%peer, reason = refusal.reason(), "peer refused: {refusal}");
            }
        })
    }

    /// Logs, once for each host and reason, a peer that TLS refused.
    pub(crate) fn report_handshake(
        &self,
        host: &str,
        reason: &'static str,
        error: &dyn fmt::Display,
    ) {
        if self.is_first(host, reason) {
            tracing::warn!(peer = host, reason, "peer refused: {error}");
        }
    }

    fn judge(&self, certificate: &Certificate, now: Timestamp) -> Result<Peer, Refusal> {
        let mesh = Arc::clone(&self.mesh.borrow());
        let peer = peer::judge(&mesh, certificate, now)?;
        if let (Peer::Machine(name), Some(machines)) = (&peer, &self.machines) {
            machines.judge(name, certificate.spki_sha256, issued_at(certificate))?;
        }
        Ok(peer)
    }

    /// Whether somebody who connects is let in now. The certificate of a machine that is, is
    /// remembered: no earlier one for another key is let in from then on.
    pub(crate) async fn greet(&self, certificate: &Certificate) -> bool {
        let Ok(peer) = self.admit(certificate, Timestamp::now()) else { return false };
        let (Peer::Machine(name), Some(machines)) = (&peer, &self.machines) else { return true };
        let (key, issued_at) = (certificate.spki_sha256, issued_at(certificate));
        if let Err(error) = machines.see(name, key, issued_at).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, machine = %name, "it is not kept which key a machine has");
        }
        true
    }

    /// Returns when a guest with this certificate may have to be judged again for another
    /// reason than the time.
    pub(crate) fn changes(&self, certificate: &Certificate) -> Changes {
        let is_machine = matches!(certificate.subject, Subject::Machine { .. });
        match self.machines.as_ref().filter(|_| is_machine) {
            Some(machines) => Changes::Machines(machines.changes()),
            None => {
                let mut mesh = self.mesh.clone();
                mesh.mark_unchanged();
                Changes::Mesh(mesh)
            }
        }
    }

    fn is_first(&self, peer: &str, reason: &'static str) -> bool {
        // A panic elsewhere cannot leave a set half changed.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.len() >= MAX_REPORTED {
            reported.clear();
        }
        reported.insert((peer.to_owned(), reason))
    }
}

/// What a guest's standing hangs on.
pub(crate) enum Changes {
    /// The mesh document.
    Mesh(watch::Receiver<Arc<Mesh>>),
    /// What is known of machines' certificates.
    Machines(watch::Receiver<()>),
}

impl Changes {
    /// Waits for the next one.
    ///
    /// # Errors
    /// The node is shutting down.
    pub(crate) async fn next(&mut self) -> Result<(), watch::error::RecvError> {
        match self {
            Self::Mesh(mesh) => mesh.changed().await,
            Self::Machines(machines) => machines.changed().await,
        }
    }
}

impl fmt::Debug for PeerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerPolicy").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::TestMesh;

    #[test]
    fn a_refusal_is_reported_once_and_memory_stays_bounded() {
        let test = TestMesh::new();
        let (_sender, mesh) = watch::channel(Arc::new(test.mesh(&[])));
        let policy = PeerPolicy::new(mesh);
        assert!(policy.is_first("node lyon", "unknown"));
        assert!(!policy.is_first("node lyon", "unknown"));
        assert!(policy.is_first("node lyon", "expired"));
        for number in 0..5000 {
            policy.is_first(&number.to_string(), "unknown");
        }
        assert!(policy.reported.lock().expect("no panic").len() <= MAX_REPORTED);
    }
}
