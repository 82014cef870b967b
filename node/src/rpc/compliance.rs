//! How machines stand, answered by the primary and passed on by all other nodes.
//!
//! The primary alone knows every machine. Another node asks its parent, on behalf
//! of whoever asked it, about the sites of the nodes below it and its own; each node
//! on the way checks that its child asks about no others. So a node learns what
//! passed through it anyhow.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use jiff::SignedDuration;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::compliance_client::ComplianceClient;
use patchmesh_proto::admin::compliance_server::Compliance;
use patchmesh_topology::compliance::survey::{STALE_AFTER, Scope};
use patchmesh_topology::name::{GroupName, NodeName, Site};
use patchmesh_topology::tally::Area;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::known;
use super::status::{field, some};
use crate::identity::peer::Peer;
use crate::transport::channel::explain;

mod answers;
pub mod quarantine;
mod reports;

use answers::Desk;

/// How long the parent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Machines of a list that wait for a slow reader.
const AHEAD: usize = 256;

/// The longest silence after which a machine is still known.
const MAX_STALE: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Machines with their verdicts.
pub type Verdicts = Pin<Box<dyn Stream<Item = Result<wire::MachineVerdict, Status>> + Send>>;

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
    /// The way to the parent; none at the primary.
    above: Option<Channel>,
    /// Questions that are answered at once.
    turns: Arc<Semaphore>,
}

/// Which machines a question is about, checked.
#[derive(Debug, Clone, Default)]
struct Asked {
    site: Option<Site>,
    group: Option<GroupName>,
    sites: Option<BTreeSet<Site>>,
}

impl Asked {
    /// Whether all machines are meant.
    const fn is_everywhere(&self) -> bool {
        self.site.is_none() && self.group.is_none() && self.sites.is_none()
    }

    const fn scope(&self) -> Scope<'_> {
        let area = Area { site: self.site.as_ref(), group: self.group.as_ref() };
        Scope { area, sites: self.sites.as_ref() }
    }
}

impl Service {
    /// Of this node, with the way to its parent.
    #[must_use]
    pub fn new(node: Context, above: Option<Channel>) -> Self {
        Self { node, above, turns: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    /// Which of `sites` a caller may ask about here; none: all that this node may.
    fn sites(&self, peer: &Peer, sites: Vec<String>) -> Result<Vec<String>, Status> {
        let below = |name: &NodeName| -> BTreeSet<Site> {
            let mesh = self.node.generation().mesh.clone();
            mesh.taking_part(name).into_iter().map(|node| node.site.clone()).collect()
        };
        let (whose, known) = match peer {
            Peer::Node(child) => (child.clone(), below(child)),
            // Here all are known.
            _ if self.above.is_none() => return Ok(sites),
            _ => (self.node.name.clone(), below(&self.node.name)),
        };
        if sites.is_empty() {
            return match peer {
                Peer::Node(_) => Err(field("sites", "a node names the sites that it asks about")),
                _ => Ok(known.iter().map(Site::to_string).collect()),
            };
        }
        match sites.iter().find(|site| !known.iter().any(|one| one.as_str() == *site)) {
            None => Ok(sites),
            Some(site) => Err(Status::permission_denied(format!(
                "sites: {site} is none of node {whose} and the nodes below it"
            ))),
        }
    }

    /// The scope as it is passed on.
    fn narrowed(
        &self,
        peer: &Peer,
        scope: Option<wire::ReportScope>,
    ) -> Result<wire::ReportScope, Status> {
        let scope = scope.unwrap_or_default();
        let sites = self.sites(peer, scope.sites)?;
        Ok(wire::ReportScope { sites, ..scope })
    }

    fn parent(&self) -> Option<ComplianceClient<Channel>> {
        let client = ComplianceClient::new(self.above.clone()?);
        Some(client.max_decoding_message_size(MAX_ANSWER))
    }

    /// What a scope asks about, as the primary reads it.
    fn asked(&self, scope: wire::ReportScope) -> Result<Asked, Status> {
        let asked = asked(scope)?;
        let (mesh, ledger) = (&self.node.generation().mesh, &self.node.primary()?.ledger);
        ledger.read(|tallies| known::check_area(mesh, tallies, asked.scope().area))?;
        Ok(asked)
    }

    /// What the primary answers with, when it is this question's turn.
    async fn desk(&self, stale_seconds: u64) -> Result<Desk, Status> {
        let (primary, stale_after) = (self.node.primary()?, stale(stale_seconds)?);
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| ending())?;
        Desk::open(self.node.generation(), primary.ledger.clone(), stale_after, turn).await
    }

    /// Machines with their verdicts, for whoever may ask.
    ///
    /// # Errors
    /// A field that is wrong, or a parent that is not reached.
    pub async fn verdicts(
        &self,
        peer: &Peer,
        mut request: wire::ListVerdictsRequest,
    ) -> Result<Verdicts, Status> {
        let scope = self.narrowed(peer, request.scope.take())?;
        if let Some(mut parent) = self.parent() {
            request.scope = Some(scope);
            let answer = parent.list_verdicts(Request::new(request)).await.map_err(not_reached)?;
            return Ok(Box::pin(answer.into_inner()));
        }
        let (asked, wanted) = (self.asked(scope)?, answers::wanted(&request)?);
        let (desk, runtime) = (self.desk(request.stale_seconds).await?, Handle::current());
        let (sender, receiver) = mpsc::channel(AHEAD);
        // It ends when all are told, or nobody listens any more.
        tokio::task::spawn_blocking(move || {
            desk.tell(&asked, &wanted, |told| pass(&runtime, &sender, told));
        });
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// Passes a machine on; says whether anybody listens still. Whoever takes nothing
/// for [`TIMEOUT`] does not.
fn pass(
    runtime: &Handle,
    to: &mpsc::Sender<Result<wire::MachineVerdict, Status>>,
    told: wire::MachineVerdict,
) -> bool {
    match to.try_send(Ok(told)) {
        Ok(()) => true,
        Err(TrySendError::Closed(_)) => false,
        Err(TrySendError::Full(told)) => runtime.block_on(to.send_timeout(told, TIMEOUT)).is_ok(),
    }
}

fn ending() -> Status {
    Status::unavailable("the node is shutting down")
}

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 << 20;

/// Questions that the primary answers at once: each has a copy of what it asks about.
const MAX_AT_ONCE: usize = 4;

fn stale(seconds: u64) -> Result<SignedDuration, Status> {
    if seconds == 0 {
        return Ok(STALE_AFTER);
    }
    i64::try_from(seconds)
        .ok()
        .map(SignedDuration::from_secs)
        .filter(|stale| *stale <= MAX_STALE)
        .ok_or_else(|| field("stale_seconds", "at most 366 days"))
}

fn asked(scope: wire::ReportScope) -> Result<Asked, Status> {
    let sites: Result<BTreeSet<Site>, _> = scope.sites.iter().map(|site| site.parse()).collect();
    let sites = sites.map_err(|error| field("sites", &error))?;
    Ok(Asked {
        site: some("site", &scope.site)?,
        group: some("group", &scope.group)?,
        sites: (!sites.is_empty()).then_some(sites),
    })
}

/// What the parent refused is refused; that it is not reached says so.
fn not_reached(status: Status) -> Status {
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::Unknown => {
            Status::unavailable(format!(
                "machines are counted at the primary, and the way there is cut: {}",
                explain(&status)
            ))
        }
        _ => status,
    }
}

/// A question that may wait.
fn bounded<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIMEOUT);
    request
}

/// Passes a question on, or answers it off the async threads.
macro_rules! answer {
    ($service:ident, $request:ident, $method:ident, $stale:expr) => {{
        let peer = Peer::of(&$request);
        let mut request = $request.into_inner();
        let scope = $service.narrowed(&peer, request.scope.take())?;
        if let Some(mut parent) = $service.parent() {
            request.scope = Some(scope);
            return parent.$method(bounded(request)).await.map_err(not_reached);
        }
        let asked = $service.asked(scope)?;
        let desk = $service.desk($stale(&request)).await?;
        off(move || desk.$method(&asked, &request)).await
    }};
}

async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<Response<T>, Status> {
    let answered = tokio::task::spawn_blocking(work);
    answered.await.map_err(|_| ending())?.map(Response::new)
}

#[tonic::async_trait]
impl Compliance for Service {
    type ListVerdictsStream = Verdicts;

    async fn summarize_compliance(
        &self,
        request: Request<wire::SummarizeComplianceRequest>,
    ) -> Result<Response<wire::SummarizeComplianceResponse>, Status> {
        let stale = |request: &wire::SummarizeComplianceRequest| request.stale_seconds;
        answer!(self, request, summarize_compliance, stale)
    }

    async fn list_verdicts(
        &self,
        request: Request<wire::ListVerdictsRequest>,
    ) -> Result<Response<Self::ListVerdictsStream>, Status> {
        let peer = Peer::of(&request);
        self.verdicts(&peer, request.into_inner()).await.map(Response::new)
    }

    async fn judge_machine(
        &self,
        request: Request<wire::JudgeMachineRequest>,
    ) -> Result<Response<wire::JudgeMachineResponse>, Status> {
        let peer = Peer::of(&request);
        let mut request = request.into_inner();
        request.sites = self.sites(&peer, request.sites)?;
        if let Some(mut parent) = self.parent() {
            return parent.judge_machine(bounded(request)).await.map_err(not_reached);
        }
        let sites = std::mem::take(&mut request.sites);
        let asked = asked(wire::ReportScope { sites, ..wire::ReportScope::default() })?;
        let desk = self.desk(request.stale_seconds).await?;
        off(move || desk.judge_machine(&asked, &request)).await
    }

    async fn list_failures(
        &self,
        request: Request<wire::ListFailuresRequest>,
    ) -> Result<Response<wire::ListFailuresResponse>, Status> {
        answer!(self, request, list_failures, |_: &_| 0)
    }

    async fn summarize_patch_times(
        &self,
        request: Request<wire::SummarizePatchTimesRequest>,
    ) -> Result<Response<wire::SummarizePatchTimesResponse>, Status> {
        answer!(self, request, summarize_patch_times, |_: &_| 0)
    }

    async fn find_vulnerable(
        &self,
        request: Request<wire::FindVulnerableRequest>,
    ) -> Result<Response<wire::FindVulnerableResponse>, Status> {
        answer!(self, request, find_vulnerable, |_: &_| 0)
    }

    async fn age_exceptions(
        &self,
        request: Request<wire::AgeExceptionsRequest>,
    ) -> Result<Response<wire::AgeExceptionsResponse>, Status> {
        answer!(self, request, age_exceptions, |_: &_| 0)
    }
}
