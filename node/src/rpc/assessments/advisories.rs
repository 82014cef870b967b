//! Advisories: published and withdrawn at the primary, read everywhere.

use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_proto::{admin as wire, document, wire as stored};
use patchmesh_topology::advisory::{Advisory, Fault, Rejection, Withdrawal};
use patchmesh_topology::name::AdvisoryName;
use tonic::{Code, Status};

use crate::primary::draft::Draft;
use crate::primary::publisher::Publisher;
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::{Refusal, field, internal, published};

/// Why an advisory was not published or withdrawn.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The advisories don't allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl Refusal for Refused {
    fn code(&self) -> Code {
        match self {
            Self::Rejected(Rejection::Unknown(_)) => Code::NotFound,
            Self::Rejected(Rejection::Comment) => Code::InvalidArgument,
            Self::Rejected(_) => Code::FailedPrecondition,
        }
    }
}

pub(super) async fn publish(
    publisher: &Publisher,
    by: String,
    request: wire::PublishAdvisoryRequest,
) -> Result<wire::PublishAdvisoryResponse, Status> {
    let given = request.advisory.ok_or_else(|| field("advisory", "is missing"))?;
    // The primary's own word counts, whatever the caller says.
    let unsigned = stored::Advisory {
        version: 1,
        author: by,
        published_at: Some(timestamp_to_wire(Timestamp::now())),
        ..given
    };
    let advisory = Advisory::try_from(unsigned).map_err(|error| field("advisory", &error))?;
    let faults: Vec<_> = advisory.faults().iter().map(Fault::to_string).collect();
    if !faults.is_empty() {
        return Err(field("advisory", &faults.join("; ")));
    }
    let (version, generation) = publisher
        .publish(move |draft: &mut Draft| {
            let version = draft.advisories.next_version(&advisory.name)?;
            let advisory = Advisory { version, published_at: draft.now, ..advisory };
            let bytes = document::encode(&stored::Advisory::from(&advisory));
            let name = draft.add_document(bytes);
            Arc::make_mut(&mut draft.advisories).publish(&advisory, name);
            Ok::<_, Refused>(version)
        })
        .await
        .map_err(published)?;
    Ok(wire::PublishAdvisoryResponse { generation: generation.number, version })
}

pub(super) async fn withdraw(
    publisher: &Publisher,
    by: String,
    request: wire::WithdrawAdvisoryRequest,
) -> Result<wire::WithdrawAdvisoryResponse, Status> {
    let name: AdvisoryName = request.name.parse().map_err(|error| field("name", &error))?;
    let ((), generation) = publisher
        .publish(move |draft: &mut Draft| {
            let withdrawal = Withdrawal { by, at: draft.now, comment: request.comment };
            // A refusal leaves the draft as it was, which nobody looks at then.
            Arc::make_mut(&mut draft.advisories).withdraw(&name, withdrawal)?;
            Ok::<_, Refused>(())
        })
        .await
        .map_err(published)?;
    Ok(wire::WithdrawAdvisoryResponse { generation: generation.number })
}

pub(super) fn list(
    node: &Context,
    request: &wire::ListAdvisoriesRequest,
) -> wire::ListAdvisoriesResponse {
    let generation = node.generation();
    let entries = generation.advisories.entries.iter();
    let mut shown: Vec<_> =
        entries.filter(|(_, entry)| request.all || entry.withdrawn.is_none()).collect();
    shown.sort_by_key(|(name, entry)| (std::cmp::Reverse(entry.published_at), *name));
    let advisories = shown.into_iter().map(stored::AdvisoryEntry::from).collect();
    wire::ListAdvisoriesResponse { advisories }
}

pub(super) async fn get(
    node: &Context,
    request: &wire::GetAdvisoryRequest,
) -> Result<wire::GetAdvisoryResponse, Status> {
    let name: AdvisoryName = request.name.parse().map_err(|error| field("name", &error))?;
    let generation = node.generation();
    let entry = generation.advisories.entries.get(&name).cloned().ok_or_else(|| {
        Status::not_found(format!(
            "there is no advisory {name}; `patchmesh advisory list --all` shows those there are"
        ))
    })?;
    let latest = entry.versions.len();
    let version = match request.version as usize {
        0 => latest,
        version => version,
    };
    let document = version.checked_sub(1).and_then(|index| entry.versions.get(index)).copied();
    let document = document.ok_or_else(|| {
        Status::not_found(format!("advisory {name} has versions 1 to {latest}, not {version}"))
    })?;
    let store = node.store.clone();
    let bytes = blocking(move || store.get_blob(&document.digest)).await?;
    let bytes = bytes.ok_or_else(|| Status::unavailable("the advisory's document is not here"))?;
    let advisory: stored::Advisory = document::decode(&bytes).map_err(|error| internal(&error))?;
    let withdrawn = stored::AdvisoryEntry::from((&name, &entry)).withdrawn;
    // Below the most versions, so it fits.
    let latest = u32::try_from(latest).unwrap_or(u32::MAX);
    Ok(wire::GetAdvisoryResponse { advisory: Some(advisory), latest, withdrawn })
}
