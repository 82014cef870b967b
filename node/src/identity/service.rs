//! The Identity gRPC service. The primary decides; every other node checks the
//! form, and for a renewal the caller, and asks its own parent.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_proto::identity::identity_client::IdentityClient;
use patchmesh_proto::identity::identity_server::{Identity, IdentityServer};
use patchmesh_proto::identity::{JoinRequest, JoinResponse, RenewRequest, RenewResponse};
use patchmesh_topology::name::{MachineName, NodeName, UserName};
use patchmesh_topology::node::Mesh;
use tokio::sync::{Semaphore, watch};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::authority::{self, Authority, Error};
use super::ca::MAX_REQUEST;
use super::certificate::{Certificate, Subject};
use super::peer::Peer;
use super::token::whole_seconds;
use crate::log::in_one_line;
use crate::transport::channel;

/// Requests of each kind in work at a time. Joining is open to strangers: they
/// must not keep a node or its parents busy, nor nodes from renewing.
const MAX_AT_ONCE: usize = 16;

/// The same for machines, which are many and must not keep nodes from joining.
const MAX_MACHINES_AT_ONCE: usize = 64;

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
    machines: Semaphore,
}

impl Service {
    /// The service, ready to be added to a router.
    #[must_use]
    pub fn server(issuer: Issuer, mesh: watch::Receiver<Arc<Mesh>>) -> IdentityServer<Self> {
        let slots = || Semaphore::new(MAX_AT_ONCE);
        let machines = Semaphore::new(MAX_MACHINES_AT_ONCE);
        let service = Self { issuer, mesh, joins: slots(), renewals: slots(), machines };
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

/// The same for machines.
fn check_machine(peer: &Peer, machine: &MachineName) -> Result<(), Status> {
    match peer {
        Peer::Node(_) => Ok(()),
        Peer::Machine(caller) if caller == machine => Ok(()),
        _ => Err(Status::permission_denied(format!("{peer} may not renew for machine {machine}"))),
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
            Error::Key(_) | Error::UserKey(_) | Error::Machine { .. } => {
                Status::permission_denied(text)
            }
            Error::Node(_) | Error::Url(_) | Error::Ca(_) | Error::SigningKey => {
                Status::invalid_argument(text)
            }
        }
    }
}

fn renewed(certificate: &Certificate) -> Response<RenewResponse> {
    let expires_at = Some(whole_seconds(certificate.not_after));
    Response::new(RenewResponse { certificate: certificate.der.to_vec().into(), expires_at })
}

async fn renew_above(
    parent: &Channel,
    request: RenewRequest,
) -> Result<Response<RenewResponse>, Status> {
    let client = IdentityClient::new(parent.clone());
    let mut client = client.max_decoding_message_size(MAX_RESPONSE);
    client.renew(upward(request)).await.map_err(from_above)
}

impl Service {
    async fn renew_machine(
        &self,
        machine: &MachineName,
        request: RenewRequest,
    ) -> Result<Response<RenewResponse>, Status> {
        match &self.issuer {
            Issuer::Here(authority) => {
                let (asked, now) = (&request.certificate_request, Timestamp::now());
                Ok(renewed(&authority.renew_machine(machine, asked, now).await?))
            }
            Issuer::Above(parent) => renew_above(parent, request).await,
        }
    }
}

#[tonic::async_trait]
impl Identity for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let slots = if request.machine.is_empty() { &self.joins } else { &self.machines };
        let _slot = slots.try_acquire().map_err(busy)?;
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
            Ok(_) if matches!(subject, Subject::Machine { .. }) => {
                tracing::debug!(%subject, "joined");
            }
            Ok(_) => tracing::info!(%subject, "joined"),
            Err(status) => tracing::warn!(%subject, reason = status.message(), "join refused"),
        }
        outcome.map(Response::new)
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let peer = Peer::of(&request);
        let request = request.into_inner();
        let slots = if request.machine.is_empty() { &self.renewals } else { &self.machines };
        let _slot = slots.try_acquire().map_err(busy)?;
        let wrong = |error| Status::from(Error::Node(error));
        if !request.machine.is_empty() {
            let machine: MachineName = request.machine.parse().map_err(wrong)?;
            check_machine(&peer, &machine)?;
            return self.renew_machine(&machine, request).await;
        }
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
                    // They went their own way above.
                    Subject::Machine { .. } => return Err(Status::internal("not a machine")),
                };
                tracing::info!(%subject, expires_at = %certificate.not_after, "certificate renewed");
                Ok(renewed(&certificate))
            }
            Issuer::Above(parent) => renew_above(parent, request).await,
        }
    }
}
