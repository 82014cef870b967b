//! Keeps this node's certificate fresh: asks for a new one when two thirds of
//! its life are over, and again and again until there is one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::identity::RenewRequest;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_topology::name::NodeName;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use super::authority;
use super::certificate::{self, Certificate};
use super::files::{self, Identity};
use super::key;
use super::service::Issuer;
use super::tls::{self, Credentials};
use crate::log::in_one_line;
use crate::transport::channel;

/// How long the parents may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest sleep at a stretch: hosts are suspended and clocks are set, so
/// the date has to be looked at now and then.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Bounds of the wait after a failure. It starts with a hundredth of the
/// certificate's life and doubles up to a twentieth, within these bounds.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(6 * 3600));

/// Why a certificate was not renewed this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host could not ask.
    #[error("cannot make a certificate request")]
    Key(#[from] key::Error),
    /// This primary's own CA refused.
    #[error("this mesh's CA refused")]
    Authority(#[from] authority::Error),
    /// The parents refused or could not be asked.
    #[error("no new certificate from above: {0}")]
    Above(String),
    /// What came cannot be read.
    #[error("the new certificate cannot be used")]
    Certificate(#[from] certificate::Error),
    /// What came is for someone else, or no newer.
    #[error("the new certificate is for somebody else, or ends no later than the old one")]
    Answer,
    /// What came does not fit, or could not be saved.
    #[error("the new certificate cannot be kept")]
    Files(#[from] files::Error),
    /// TLS cannot use what came.
    #[error("the new certificate cannot be presented")]
    Tls(#[from] tls::Error),
    /// The task that saves it broke off.
    #[error("saving the new certificate broke off")]
    Save(#[from] tokio::task::JoinError),
}

/// The task that renews.
#[derive(Debug)]
pub struct Renewal {
    node: NodeName,
    folder: PathBuf,
    identity: Identity,
    credentials: Arc<Credentials>,
    issuer: Issuer,
}

impl Renewal {
    /// Renews the identity that is kept in `folder` and presented by
    /// `credentials`.
    #[must_use]
    pub fn new(
        node: NodeName,
        folder: PathBuf,
        identity: Identity,
        credentials: Arc<Credentials>,
        issuer: Issuer,
    ) -> Self {
        Self { node, folder, identity, credentials, issuer }
    }

    /// Runs until `shutdown`. An error is logged and tried again; none ends
    /// the task.
    pub async fn run(mut self, shutdown: CancellationToken) {
        tokio::select! {
            () = self.renew_for_ever() => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn renew_for_ever(&mut self) {
        loop {
            let (due, life) = due(self.identity.certificate(), jitter());
            sleep_until(due).await;
            let mut wait = clamp(life / 100);
            while let Err(error) = self.renew().await {
                let ends = self.identity.certificate().not_after;
                let retry_in = wait.as_secs();
                let error = in_one_line(&error);
                if Timestamp::now() > ends {
                    tracing::error!(error, %ends, retry_in, "certificate expired, not renewed");
                } else {
                    tracing::warn!(error, %ends, retry_in, "certificate not renewed yet");
                }
                sleep(wait).await;
                wait = (wait * 2).min(clamp(life / 20));
            }
        }
    }

    /// Asks once, and takes what comes into use: first on disk, then in TLS.
    async fn renew(&mut self) -> Result<(), Error> {
        let request = self.identity.key().certificate_request(self.node.as_str())?;
        let renewed = with(&self.identity, self.ask(request).await?)?;
        let expires_at = renewed.certificate().not_after;
        let folder = self.folder.clone();
        let save = move || renewed.save_certificate(&folder).map(|()| renewed);
        self.identity = tokio::task::spawn_blocking(save).await??;
        self.credentials.replace(&self.identity)?;
        tracing::info!(%expires_at, "own certificate renewed");
        Ok(())
    }

    async fn ask(&self, certificate_request: Vec<u8>) -> Result<Certificate, Error> {
        match &self.issuer {
            Issuer::Here(authority) => {
                Ok(authority.renew(&self.node, &certificate_request, Timestamp::now())?)
            }
            Issuer::Above(parent) => {
                let mut request = Request::new(RenewRequest {
                    node: self.node.to_string(),
                    certificate_request: certificate_request.into(),
                    user: String::new(),
                    machine: String::new(),
                });
                request.set_timeout(TIMEOUT);
                let answer = IdentityClient::new(parent.clone()).renew(request).await;
                let answer = answer.map_err(|status| Error::Above(channel::explain(&status)))?;
                Ok(Certificate::parse(&answer.into_inner().certificate)?)
            }
        }
    }
}

/// An identity with a newer certificate for the same subject.
///
/// # Errors
/// [`Error::Answer`] where it is for another or no newer, and [`Error::Files`]
/// where it is for another key or of another CA.
pub(crate) fn with(identity: &Identity, newer: Certificate) -> Result<Identity, Error> {
    let old = identity.certificate();
    if newer.subject != old.subject
        || newer.mesh_id != old.mesh_id
        || newer.not_after <= old.not_after
    {
        return Err(Error::Answer);
    }
    Ok(identity.renewed(newer)?)
}

/// When to renew, and how long the certificate lives. The jitter, 0 to 1,
/// moves the moment by up to a tenth of the life towards the beginning, so
/// that nodes made in one go do not come in one go.
pub(crate) fn due(certificate: &Certificate, jitter: f64) -> (Timestamp, Duration) {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let life = Duration::try_from(life).unwrap_or_default();
    // The backdating is no life.
    let life = life.saturating_sub(super::CLOCK_SKEW);
    let left = life.mul_f64(1.0 / 3.0 + jitter / 10.0);
    let due = certificate.not_after.checked_sub(left).unwrap_or(Timestamp::MIN);
    (due, life)
}

/// A number from 0 to 1, from the system's randomness where there is some.
fn jitter() -> f64 {
    let mut byte = [0];
    match aws_lc_rs::rand::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.5,
    }
}

fn clamp(wait: Duration) -> Duration {
    wait.clamp(RETRY.0, RETRY.1)
}

async fn sleep_until(due: Timestamp) {
    loop {
        let left = due.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        if left.is_zero() {
            return;
        }
        sleep(left.min(MAX_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;
    use crate::identity::testing::TestMesh;

    #[test]
    fn is_due_when_two_thirds_are_over() {
        let now = Timestamp::from_second(1_800_000_000).expect("a time");
        let life = Duration::from_secs(90 * 24 * 3600);
        let identity = TestMesh::new().node_at("lyon", life, now);
        let (at, read) = due(identity.certificate(), 0.0);
        assert_eq!(read, life);
        assert_eq!(at, now + (60 * 24).hours());
        let (early, _) = due(identity.certificate(), 1.0);
        assert_eq!(early, now + (51 * 24).hours());
    }
}
