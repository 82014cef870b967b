//! What waits for signatures: listing, showing, signing, withdrawing.

use patchmesh_proto::admin::signatures_server::Signatures;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::{admin as wire, set};
use patchmesh_topology::node::{Membership, Mesh};
use tonic::{Code, Request, Response, Status};

use super::context::Context;
use super::status::{check_comment, field, internal};
use crate::generation::Generation;
use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::primary::pending::{self, Error, Given, Outlook, Pending};
use crate::primary::publisher::{Fault, Stopped, Worker};
use crate::tuf::envelope::Signature;
use crate::tuf::key::KeyId;
use crate::tuf::paper::Refused;
use crate::tuf::repository::Repository;

/// Signatures that one call may bring.
const MAX_SIGNATURES: usize = 64;

/// Implements the service over the node's parts.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
}

impl Service {
    /// Serves `node`.
    #[must_use]
    pub const fn new(node: Context) -> Self {
        Self { node }
    }

    /// Runs `work` where nothing changes meanwhile.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let publisher = &self.node.primary()?.publisher;
        publisher.alone(work).await.map_err(stopped)?.map_err(status)
    }
}

#[tonic::async_trait]
impl Signatures for Service {
    async fn list_pending(
        &self,
        request: Request<wire::ListPendingRequest>,
    ) -> Result<Response<wire::ListPendingResponse>, Status> {
        let all = request.into_inner().all;
        let pending = self
            .alone(move |worker| {
                let found = pending::list(&worker.press.store, all)?;
                let mesh = worker.current.get().mesh.clone();
                let repository = worker.press.signing.repository();
                Ok(found.iter().map(|one| row(one, repository, &mesh)).collect())
            })
            .await?;
        Ok(Response::new(wire::ListPendingResponse { pending }))
    }

    async fn get_pending(
        &self,
        request: Request<wire::GetPendingRequest>,
    ) -> Result<Response<wire::GetPendingResponse>, Status> {
        let id = request.into_inner().id;
        let answer = self.alone(move |worker| show(worker, id)).await?;
        Ok(Response::new(answer))
    }

    async fn sign_pending(
        &self,
        request: Request<wire::SignPendingRequest>,
    ) -> Result<Response<wire::SignPendingResponse>, Status> {
        let by = Peer::of(&request);
        let request = request.into_inner();
        if request.signatures.is_empty() || request.signatures.len() > MAX_SIGNATURES {
            let text = format!("1 to {MAX_SIGNATURES} signatures a call");
            return Err(field("signatures", &text));
        }
        let id = request.id;
        let given = request.signatures.into_iter().map(given).collect();
        tracing::debug!(pending = id, %by, "signatures came in");
        let pending = self
            .alone(move |worker| {
                let done = pending::sign(worker, id, given)?;
                Ok(described(worker, &done))
            })
            .await?;
        Ok(Response::new(wire::SignPendingResponse { pending: Some(pending) }))
    }

    async fn withdraw_pending(
        &self,
        request: Request<wire::WithdrawPendingRequest>,
    ) -> Result<Response<wire::WithdrawPendingResponse>, Status> {
        let by = Peer::of(&request);
        let request = request.into_inner();
        check_comment(&request.comment)?;
        let note = match request.comment.as_str() {
            "" => format!("withdrawn by {by}"),
            comment => format!("withdrawn by {by}: {comment}"),
        };
        let pending = self
            .alone(move |worker| {
                let done = pending::withdraw(worker, request.id, note)?;
                Ok(described(worker, &done))
            })
            .await?;
        Ok(Response::new(wire::WithdrawPendingResponse { pending: Some(pending) }))
    }
}

fn given(one: wire::DetachedSignature) -> Given {
    Given {
        role: one.role,
        text_sha256: one.text_sha256.to_vec(),
        signature: Signature { keyid: KeyId::from(one.key_id), sig: hex::encode(&one.signature) },
    }
}

fn described(worker: &Worker, pending: &Pending) -> wire::Pending {
    row(pending, worker.press.signing.repository(), &worker.current.get().mesh)
}

fn show(worker: &Worker, id: u64) -> Result<wire::GetPendingResponse, Error> {
    let pending = pending::get(&worker.press.store, id)?;
    let mut answer = wire::GetPendingResponse {
        pending: Some(described(worker, &pending)),
        papers: pending.record.papers.clone(),
        ..Default::default()
    };
    if pending.is_waiting() {
        documents(&worker.current.get(), &pending, &mut answer)?;
    }
    Ok(answer)
}

/// The decisions as they are and as they would be, for whoever signs to
/// compare.
fn documents(
    generation: &Generation,
    pending: &Pending,
    answer: &mut wire::GetPendingResponse,
) -> Result<(), Error> {
    let Some(stage) = pending.stage() else { return Ok(()) };
    let Some(present) = generation.approvals(stage) else { return Ok(()) };
    let now = set::cut_approvals(&present.set);
    let after = set::cut_approvals(&pending.apply(&present.set)?);
    answer.index_now = now.index;
    answer.index = after.index;
    let all: std::collections::BTreeMap<_, _> = now
        .partitions
        .into_iter()
        .chain(after.partitions)
        .map(|(name, bytes)| (name.digest, bytes))
        .collect();
    answer.partitions = all.into_values().collect();
    Ok(())
}

/// A pending change as it is told.
pub(super) fn row(
    pending: &Pending,
    repository: Option<&Repository>,
    mesh: &Mesh,
) -> wire::Pending {
    let record = &pending.record;
    let mut row = wire::Pending {
        id: pending.id,
        kind: record.kind,
        state: record.state,
        by: record.by.clone(),
        comment: record.comment.clone(),
        created_at: time(record.created_at),
        stage: record.stage,
        changes: record.changes.clone(),
        prepared_at: time(record.prepared_at),
        note: record.note.clone(),
        generation: record.generation,
        summary: record.summary.clone(),
        ..Default::default()
    };
    row.signers = record
        .signers
        .iter()
        .map(|signer| wire::PendingSigner {
            user: signer.user.clone(),
            key_id: signer.key_id.clone(),
            role: signer.role.clone(),
            at: time(signer.at),
        })
        .collect();
    if pending.is_waiting() {
        row.summary = pending::summary(pending, repository, mesh);
        let outlook = repository.and_then(|one| Outlook::new(one, &pending.papers).ok());
        if let Some(outlook) = outlook {
            add_standing(&mut row, pending, &outlook, mesh);
        }
    }
    row
}

fn add_standing(row: &mut wire::Pending, pending: &Pending, outlook: &Outlook, mesh: &Mesh) {
    for paper in &pending.papers {
        let role = paper.role().to_string();
        let Some(worst) = outlook.worst(paper) else { continue };
        row.parts.push(wire::PendingPart {
            role: role.clone(),
            signatures: u32::try_from(worst.signed.len()).unwrap_or(u32::MAX),
            threshold: u32::try_from(worst.threshold).unwrap_or(u32::MAX),
        });
        row.missing.extend(outlook.missing(paper).into_iter().filter_map(|id| {
            let user = outlook.owner(paper.role(), &id, mesh);
            // Nobody waits for those whose signature would not count.
            if user.is_some_and(|user| user.membership == Membership::Revoked) {
                return None;
            }
            Some(wire::PendingHolder {
                user: user.map(|user| user.name.to_string()).unwrap_or_default(),
                key_id: id.as_str().to_owned(),
                role: role.clone(),
            })
        }));
    }
}

fn time(millis: i64) -> Option<prost_types::Timestamp> {
    jiff::Timestamp::from_millisecond(millis).ok().map(timestamp_to_wire)
}

pub(super) fn stopped(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

pub(super) fn status(error: Error) -> Status {
    let code = match &error {
        Error::Unknown(_) => Code::NotFound,
        Error::Over { .. } => Code::FailedPrecondition,
        Error::TooMany => Code::ResourceExhausted,
        Error::Changed(_) => Code::Aborted,
        Error::Consent(_) => Code::FailedPrecondition,
        Error::NoPart { .. } => Code::InvalidArgument,
        Error::Revoked(_) | Error::Signature(Refused::NotAHolder { .. }) => Code::PermissionDenied,
        Error::Signature(Refused::Twice { .. }) => Code::AlreadyExists,
        Error::Signature(_) => Code::InvalidArgument,
        Error::Draw(_) | Error::Record(_) | Error::NoRepository | Error::Store(_) => {
            return internal(&error);
        }
        Error::Publish(fault) if matches!(fault.as_ref(), Fault::Unproven(_)) => {
            Code::FailedPrecondition
        }
        Error::Publish(_) => return internal(&error),
    };
    Status::new(code, in_one_line(&error))
}
