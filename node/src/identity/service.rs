//! The Identity gRPC service. The primary decides; every other node checks the
//! form, and for a renewal the caller, and asks its own parent.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::identity::identity_server::{Identity, IdentityServer};
use patchmesh_proto::identity::{JoinRequest, JoinResponse, RenewRequest, RenewResponse};
use patchmesh_topology::name::{NodeName, UserName};
use patchmesh_topology::node::Mesh;
use tokio::sync::{Semaphore, watch};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::authority::{self, Authority, Error};
use super::ca::MAX_REQUEST;
use super::certificate::Subject;
use super::peer::Peer;
use crate::log::in_one_line;
use crate::transport::channel;

/// Requests of each kind in work at a time. Joining is open to strangers: they
/// must not keep a node or its parents busy, nor nodes from renewing.
const MAX_AT_ONCE: usize = 16;

/// How long the parents may take to answer.
const RELAY_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer of a parent; the TUF root makes most of it.
const MAX_RESPONSE: usize = 1 << 20;

/// Who decides.
#[derive(Debug, Clone)]
pub enum Issuer {
    /// This node: it is the primary.
    Here(Arc<Authority>),
    /// The primary, by way of this node's parent.
    Above(Channel),
}

/// The service.
#[derive(Debug)]
pub struct Service {
    issuer: Issuer,
    mesh: watch::Receiver<Arc<Mesh>>,
    joins: Semaphore,
    renewals: Semaphore,
}

impl Service {
    /// The service, ready to be added to a router.
    #[must_use]
    pub fn server(issuer: Issuer, mesh: watch::Receiver<Arc<Mesh>>) -> IdentityServer<Self> {
        let slots = || Semaphore::new(MAX_AT_ONCE);
        let service = Self { issuer, mesh, joins: slots(), renewals: slots() };
        // Room for a certificate request and the short fields around it.
        IdentityServer::new(service).max_decoding_message_size(2 * MAX_REQUEST)
    }

    /// Refuses a renewal for a node that is neither the caller nor below it.
    fn check_caller(&self, peer: &Peer, node: &NodeName) -> Result<(), Status> {
        let Peer::Node(caller) = peer else {
            return Err(Status::unauthenticated("only nodes renew nodes' certificates"));
        };
        if self.mesh.borrow().is_within(node, caller) {
            return Ok(());
        }
        let text = format!("node {caller} may not renew for node {node}, which is not below it");
        Err(Status::permission_denied(text))
    }
}

/// A person renews for themselves. A node that passes a request on needs no
/// say: the certificate is for the key that the person has, and for no other.
fn check_user(peer: &Peer, user: &UserName) -> Result<(), Status> {
    match peer {
        Peer::Node(_) => Ok(()),
        Peer::User(caller) if caller == user => Ok(()),
        _ => Err(Status::permission_denied(format!("{peer} may not renew for user {user}"))),
    }
}

fn busy<T>(_: T) -> Status {
    Status::resource_exhausted("too many nodes join or renew here just now; try again soon")
}

/// A request to the parents with a deadline.
fn upward<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(RELAY_TIMEOUT);
    request
}

/// The parents' refusal goes down as it is; that they cannot be reached, with
/// the reason.
fn from_above(status: Status) -> Status {
    match status.code() {
        tonic::Code::PermissionDenied
        | tonic::Code::FailedPrecondition
        | tonic::Code::InvalidArgument
        | tonic::Code::ResourceExhausted
        | tonic::Code::Internal => Status::new(status.code(), status.message()),
        _ => Status::unavailable(format!("no answer from above: {}", channel::explain(&status))),
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = in_one_line(&error);
        match error {
            Error::Denied(status) => *status,
            Error::NotJoined(_) | Error::UserNotJoined(_) => Status::failed_precondition(text),
            Error::Key(_) | Error::UserKey(_) => Status::permission_denied(text),
            Error::Node(_) | Error::Url(_) | Error::Ca(_) | Error::SigningKey => {
                Status::invalid_argument(text)
            }
        }
    }
}

#[tonic::async_trait]
impl Identity for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let _slot = self.joins.try_acquire().map_err(busy)?;
        let request = request.into_inner();
        let (applicant, _) = authority::read(&request)?;
        let subject = applicant.subject();
        let outcome = match &self.issuer {
            Issuer::Here(authority) => {
                authority.join(request, Timestamp::now()).await.map_err(Status::from)
            }
            Issuer::Above(parent) => IdentityClient::new(parent.clone())
                .max_decoding_message_size(MAX_RESPONSE)
                .join(upward(request))
                .await
                .map(Response::into_inner)
                .map_err(from_above),
        };
        match &outcome {
            Ok(_) => tracing::info!(%subject, "joined"),
            Err(status) => tracing::warn!(%subject, reason = status.message(), "join refused"),
        }
        outcome.map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let _slot = self.renewals.try_acquire().map_err(busy)?;
        let peer = Peer::of(&request);
        let request = request.into_inner();
        let wrong = |error| Status::from(Error::Node(error));
        let subject = if request.user.is_empty() {
            let node: NodeName = request.node.parse().map_err(wrong)?;
            self.check_caller(&peer, &node)?;
            Subject::Node(node)
        } else {
            let user: UserName = request.user.parse().map_err(wrong)?;
            check_user(&peer, &user)?;
            Subject::User(user)
        };
        match &self.issuer {
            Issuer::Here(authority) => {
                let (asked, now) = (&request.certificate_request, Timestamp::now());
                let certificate = match &subject {
                    Subject::Node(node) => authority.renew(node, asked, now)?,
                    Subject::User(user) => authority.renew_user(user, asked, now)?,
                };
                let expires_at = Some(prost_types::Timestamp {
                    seconds: certificate.not_after.as_second(),
                    nanos: 0,
                });
                tracing::info!(%subject, expires_at = %certificate.not_after, "certificate renewed");
                let certificate = certificate.der.to_vec().into();
                Ok(Response::new(RenewResponse { certificate, expires_at }))
            }
            Issuer::Above(parent) => IdentityClient::new(parent.clone())
                .max_decoding_message_size(MAX_RESPONSE)
                .renew(upward(request))
                .await
                .map_err(from_above),
        }
    }
}
