//! The reporting service: machines' batches, from machines and from child nodes.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::document::{self, Document, MAX_DOCUMENT};
use patchmesh_proto::report as wire;
use patchmesh_proto::report::reports_server::Reports;
use patchmesh_proto::wire as proto;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::name::{MachineName, NodeName};
use patchmesh_topology::report::{MAX_BATCH, MAX_DIGESTS, MAX_EVENTS};
use prost::Message;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::blocking;
use super::context::Context;
use super::status::{field, internal};
use super::turns::come_again;
use crate::agent::inventory::Listing;
use crate::agent::inventory::listing::Unfit;
use crate::brakes::Brakes;
use crate::brakes::below::Below;
use crate::generation::Current;
use crate::identity::peer::Peer;
use crate::identity::sealed::{Holder, Sealed, Verifier};
use crate::inventories::Inventories;
use crate::log::in_one_line;
use crate::reports::intake::{Answer, COME_AGAIN, Error, Intake};
use crate::reports::wake::{MAX_STREAMS, Wake};
use crate::reports::{MAX_BATCHES, MAX_REQUEST};
use crate::store::Store;
use crate::transport::server::Remote;

/// Requests whose signatures are checked at a time: they cost processor time, and
/// whatever else the node does must go on.
const MAX_CHECKED_AT_ONCE: usize = 4;

/// Bytes of documents in one answer, unless the first has more.
const MAX_DOCUMENTS: usize = 1 << 20;

/// Documents that machines need. Whatever else a digest may name stays here.
const FOR_MACHINES: [&str; 9] = [
    proto::Topology::KIND,
    proto::Index::KIND,
    proto::CataloguePartition::KIND,
    proto::BindingPartition::KIND,
    proto::ApprovalPartition::KIND,
    proto::Revision::KIND,
    proto::RolloutSet::KIND,
    proto::WaveStates::KIND,
    proto::DeadlineWeightPartition::KIND,
];

/// Implements the service.
#[derive(Debug)]
pub struct Service {
    name: NodeName,
    current: Current,
    store: Store,
    intake: Intake,
    verifier: Arc<Verifier>,
    inventories: Inventories,
    brakes: Brakes,
    below: Below,
    checks: Semaphore,
    wake: Wake,
    shutdown: CancellationToken,
}

impl Service {
    /// Of the node that `context` is about. Streams end with `shutdown`.
    #[must_use]
    pub fn new(
        context: &Context,
        intake: Intake,
        verifier: Arc<Verifier>,
        wake: Wake,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            name: context.name.clone(),
            current: context.current.clone(),
            store: context.store.clone(),
            inventories: context.inventories.clone(),
            brakes: context.brakes.clone(),
            below: context.below.clone(),
            checks: Semaphore::new(MAX_CHECKED_AT_ONCE),
            intake,
            verifier,
            wake,
            shutdown,
        }
    }

    /// Checks the batches of a request and takes the good ones.
    async fn take(
        &self,
        batches: Vec<wire::SignedBatch>,
        caller: Option<MachineName>,
    ) -> Result<(Vec<wire::Answer>, Option<Arc<Holder>>), Status> {
        check_size(&batches)?;
        let Ok(_slot) = self.checks.acquire().await else {
            return Err(Status::unavailable("the node is shutting down"));
        };
        let verifier = self.verifier.clone();
        let checked = tokio::task::spawn_blocking(move || {
            batches.into_iter().map(|batch| verifier.check(batch)).collect::<Vec<_>>()
        });
        let checked =
            checked.await.map_err(|_| Status::unavailable("the node is shutting down"))?;
        let mut answers = Vec::with_capacity(checked.len());
        let mut good: Vec<Sealed> = Vec::with_capacity(checked.len());
        for outcome in checked {
            match outcome {
                Ok(sealed) => {
                    if let Some(caller) = &caller
                        && *caller != sealed.batch.machine
                    {
                        let about = &sealed.batch.machine;
                        return Err(Status::permission_denied(format!(
                            "machine {caller} may not report for machine {about}"
                        )));
                    }
                    good.push(sealed);
                    answers.push(None);
                }
                Err(error) => answers.push(Some(Answer::Refused(in_one_line(&error)))),
            }
        }
        let holder = good.first().map(|sealed| sealed.holder.clone());
        let mut taken =
            self.intake.take(good).await.map_err(|error| not_taken(&error))?.into_iter();
        let refused = || Answer::Refused("it was not looked at".to_owned());
        let answer = |known: Option<Answer>| known.or_else(|| taken.next()).unwrap_or_else(refused);
        Ok((answers.into_iter().map(answer).map(Into::into).collect(), holder))
    }

    /// Takes what a machine brings.
    async fn reported(
        &self,
        request: Request<wire::ReportRequest>,
    ) -> Result<Response<wire::ReportResponse>, Status> {
        let Peer::Machine(machine) = Peer::of(&request) else {
            return Err(Status::permission_denied("only machines report for themselves"));
        };
        let seen_from = request.extensions().get::<Remote>().map(|remote| remote.0.to_string());
        let mut batches = request.into_inner().batches;
        for batch in &mut batches {
            batch.seen_from = seen_from.clone().unwrap_or_default();
        }
        let (answers, holder) = self.take(batches, Some(machine)).await?;
        let intake = self.intake.clone();
        let held = match holder {
            Some(holder) => blocking(move || intake.held(&holder)).await?.to_wire(),
            None => Vec::new(),
        };
        Ok(Response::new(wire::ReportResponse { answers, held }))
    }
}

/// Refuses what is more than a request may have.
fn check_size(batches: &[wire::SignedBatch]) -> Result<(), Status> {
    if batches.is_empty() {
        return Err(Status::invalid_argument("a request has at least one batch"));
    }
    if batches.len() > MAX_BATCHES {
        return Err(Status::invalid_argument(format!(
            "{} batches in one request, at most {MAX_BATCHES} are taken: send several",
            batches.len()
        )));
    }
    let bytes: usize = batches.iter().map(Message::encoded_len).sum();
    if bytes > MAX_REQUEST {
        return Err(Status::invalid_argument(format!(
            "{bytes} bytes in one request, at most {MAX_REQUEST} are taken: send several"
        )));
    }
    Ok(())
}

fn not_taken(error: &Error) -> Status {
    let text = in_one_line(error);
    let is_full = match error {
        Error::Full { .. } | Error::MachineFull { .. } => true,
        Error::Store(error) => error.is_disk_full(),
        Error::Stopped => return Status::unavailable(text),
    };
    if !is_full {
        return internal(error);
    }
    come_again(format!("{text}; keep your reports and come again in {} s", COME_AGAIN.as_secs()))
}

/// The digests of a request.
fn digests(bytes: &[Bytes]) -> Result<Vec<Digest>, Status> {
    if bytes.is_empty() || bytes.len() > MAX_DIGESTS {
        let text = format!("{} digests in one request, 1 to {MAX_DIGESTS} are taken", bytes.len());
        return Err(Status::invalid_argument(text));
    }
    let read = |one: &Bytes| <[u8; 32]>::try_from(&one[..]).map(Digest::from_bytes);
    let read: Result<Vec<Digest>, _> = bytes.iter().map(read).collect();
    read.map_err(|_| Status::invalid_argument("a digest has 32 bytes"))
}

/// The documents with these digests, as many as fit into an answer; empty where
/// there is none, or one that is no machine's business.
fn documents(store: &Store, digests: &[Digest]) -> Result<Vec<Bytes>, crate::store::Error> {
    let (mut documents, mut length) = (Vec::new(), 0);
    for digest in digests {
        let reader = store.open_blob(digest)?.filter(|one| one.length() <= MAX_DOCUMENT as u64);
        let bytes = reader.map(|one| one.read_at(0, one.length())).transpose()?;
        let is_for_machines = |bytes: &Bytes| {
            document::kind_of(bytes).is_ok_and(|kind| FOR_MACHINES.contains(&kind.as_str()))
        };
        let found = bytes.filter(is_for_machines).unwrap_or_default();
        length += found.len();
        if length > MAX_DOCUMENTS && !documents.is_empty() {
            break;
        }
        documents.push(found);
    }
    Ok(documents)
}

#[tonic::async_trait]
impl Reports for Service {
    async fn greet(
        &self,
        _request: Request<wire::GreetRequest>,
    ) -> Result<Response<wire::GreetResponse>, Status> {
        let mesh = self.current.get().mesh.clone();
        let site = mesh.node(&self.name).map(|node| node.site.to_string());
        // The bounds are far below what the fields can state.
        let bound = |bound: usize| u32::try_from(bound).unwrap_or(u32::MAX);
        Ok(Response::new(wire::GreetResponse {
            node: self.name.to_string(),
            site: site.unwrap_or_default(),
            now: Some(timestamp_to_wire(Timestamp::now())),
            max_events_per_batch: bound(MAX_EVENTS),
            max_bytes_per_batch: bound(MAX_BATCH),
            max_batches_per_request: bound(MAX_BATCHES),
            max_bytes_per_request: bound(MAX_REQUEST),
        }))
    }

    async fn get_brakes(
        &self,
        request: Request<wire::GetBrakesRequest>,
    ) -> Result<Response<wire::GetBrakesResponse>, Status> {
        let brakes = match request.into_inner().node.as_str() {
            "" => self.brakes.to_wire(Timestamp::now()),
            name if name == self.name.as_str() => self.brakes.to_wire(Timestamp::now()),
            name => self.below.of(&name.parse().map_err(|error| field("node", &error))?),
        };
        Ok(Response::new(wire::GetBrakesResponse { brakes }))
    }

    async fn get_documents(
        &self,
        request: Request<wire::GetDocumentsRequest>,
    ) -> Result<Response<wire::GetDocumentsResponse>, Status> {
        let Peer::Machine(_) = Peer::of(&request) else {
            return Err(Status::permission_denied("only machines ask for documents so"));
        };
        let digests = digests(&request.into_inner().digests)?;
        let store = self.store.clone();
        let documents = blocking(move || documents(&store, &digests)).await?;
        Ok(Response::new(wire::GetDocumentsResponse { documents }))
    }

    async fn offer_inventory(
        &self,
        request: Request<wire::OfferInventoryRequest>,
    ) -> Result<Response<wire::OfferInventoryResponse>, Status> {
        let Peer::Machine(machine) = Peer::of(&request) else {
            return Err(Status::permission_denied("only machines have an inventory"));
        };
        let digest = request.into_inner().digest;
        if digest.len() != size_of::<Digest>() {
            return Err(field("digest", "has 32 bytes"));
        }
        let inventories = self.inventories.clone();
        let is_held = blocking(move || inventories.holds(&machine, &digest)).await?;
        Ok(Response::new(wire::OfferInventoryResponse { is_held }))
    }

    async fn put_inventory(
        &self,
        request: Request<wire::PutInventoryRequest>,
    ) -> Result<Response<wire::PutInventoryResponse>, Status> {
        let Peer::Machine(machine) = Peer::of(&request) else {
            return Err(Status::permission_denied("only machines have an inventory"));
        };
        let sent = request.into_inner().inventory.ok_or(Unfit::None);
        let listing = sent.and_then(Listing::try_from).map_err(|why| field("inventory", &why))?;
        let kept = self.inventories.keep(machine, listing, Timestamp::now()).await;
        kept.map_err(|error| internal(&error))?;
        Ok(Response::new(wire::PutInventoryResponse {}))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let Peer::Machine(machine) = Peer::of(&request) else {
            return Err(Status::permission_denied("only machines are woken so"));
        };
        // The connection ends by itself when the certificate does.
        let words = self.wake.words(&machine).ok_or_else(|| {
            come_again(format!("{MAX_STREAMS} streams wake machine {machine}: end one first"))
        })?;
        let words = words.map(|word| Ok(word.into()));
        Ok(Response::new(words.take_until(self.shutdown.clone().cancelled_owned()).boxed()))
    }

    async fn report(
        &self,
        request: Request<wire::ReportRequest>,
    ) -> Result<Response<wire::ReportResponse>, Status> {
        self.reported(request).await
    }

    // What it is called is what counts: a node that does not know roll-ups lacks it.
    async fn report_rolled_up(
        &self,
        request: Request<wire::ReportRolledUpRequest>,
    ) -> Result<Response<wire::ReportRolledUpResponse>, Status> {
        let reported = request.map(|one| wire::ReportRequest { batches: one.batches });
        let wire::ReportResponse { answers, held } = self.reported(reported).await?.into_inner();
        Ok(Response::new(wire::ReportRolledUpResponse { answers, held }))
    }

    async fn relay(
        &self,
        request: Request<wire::RelayRequest>,
    ) -> Result<Response<wire::RelayResponse>, Status> {
        let (answers, _) = self.take(request.into_inner().batches, None).await?;
        Ok(Response::new(wire::RelayResponse { answers }))
    }

    async fn relay_rolled_up(
        &self,
        request: Request<wire::RelayRolledUpRequest>,
    ) -> Result<Response<wire::RelayRolledUpResponse>, Status> {
        let (answers, _) = self.take(request.into_inner().batches, None).await?;
        Ok(Response::new(wire::RelayRolledUpResponse { answers }))
    }
}
