//! The primary's own records, kept by those who stand by for it.

use std::time::Duration;

use patchmesh_proto::replication as wire;
use patchmesh_proto::replication::records_client::RecordsClient;
use patchmesh_proto::replication::records_server::Records;
use patchmesh_topology::name::NodeName;
use patchmesh_topology::node::Role;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::generation::Current;
use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::rpc::blocking;
use crate::store::{self, RawRecord, Store, Table, Tag};
use crate::transport::channel;

/// Bytes of all records at most: a source's state is the largest of them.
pub const MAX_BYTES: u64 = 48 << 20;
/// Room for framing around them.
pub const MAX_MESSAGE: usize = 64 << 20;
/// How often a standby asks for what is new.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long the primary may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a standby keeps.
static KEPT: Table<str, wire::GetRecordsResponse> = Table::new(Tag::Standby, 1);
const KEY: &str = "records";

/// Hands the records out.
#[derive(Debug, Clone)]
pub struct Service {
    own: NodeName,
    store: Store,
    current: Current,
}

impl Service {
    /// Those of this node.
    #[must_use]
    pub const fn new(own: NodeName, store: Store, current: Current) -> Self {
        Self { own, store, current }
    }
}

#[tonic::async_trait]
impl Records for Service {
    async fn get_records(
        &self,
        request: Request<wire::GetRecordsRequest>,
    ) -> Result<Response<wire::GetRecordsResponse>, Status> {
        let Peer::Node(caller) = Peer::of(&request) else {
            return Err(Status::permission_denied("only nodes that stand by may"));
        };
        let mesh = self.current.get().mesh.clone();
        if mesh.node(&self.own).is_none_or(|this| this.role != Role::Primary) {
            return Err(Status::failed_precondition("this node is not the primary"));
        }
        if !mesh.is_standby(&caller) {
            return Err(Status::permission_denied(format!("node {caller} does not stand by")));
        }
        let (store, known) = (self.store.clone(), request.into_inner().known);
        let records = blocking(move || store.primary_records(MAX_BYTES)).await?;
        let mut hasher = blake3::Hasher::new();
        for part in records.iter().flat_map(|(key, value)| [key, value]) {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part);
        }
        let digest = bytes::Bytes::copy_from_slice(hasher.finalize().as_bytes());
        let is_known = known == digest;
        let record =
            |(key, value): RawRecord| wire::Record { key: key.into(), value: value.into() };
        let records = if is_known { Vec::new() } else { records.into_iter().map(record).collect() };
        Ok(Response::new(wire::GetRecordsResponse { digest, records }))
    }
}

/// Keeps the records of the parent while this node stands by for it.
pub async fn run(
    channel: Channel,
    name: NodeName,
    store: Store,
    current: Current,
    cancel: CancellationToken,
) {
    let mut client = RecordsClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut last = String::new();
    loop {
        if current.get().mesh.is_standby(&name) {
            let outcome = tokio::select! {
                () = cancel.cancelled() => return,
                outcome = refresh(&mut client, &store) => outcome,
            };
            let problem = outcome.err().unwrap_or_default();
            if problem != last {
                if problem.is_empty() {
                    tracing::info!("the primary's own records are kept here again");
                } else {
                    tracing::warn!(problem, "the primary's own records are not up to date here");
                }
                last = problem;
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn refresh(client: &mut RecordsClient<Channel>, store: &Store) -> Result<(), String> {
    let failed = |error: &store::Error| in_one_line(error);
    let kept = store.run(|store| store.get(&KEPT, KEY)).await.map_err(|error| failed(&error))?;
    let known = kept.map(|kept| kept.digest).unwrap_or_default();
    let mut request = Request::new(wire::GetRecordsRequest { known: known.clone() });
    request.set_timeout(PATIENCE);
    let answer = client.get_records(request).await.map_err(|status| channel::explain(&status))?;
    let answer = answer.into_inner();
    if answer.digest == known {
        return Ok(());
    }
    if answer.encoded_len() > MAX_MESSAGE {
        return Err("the primary's records are too many".to_owned());
    }
    let count = answer.records.len();
    let kept = store.run(move |store| store.put(&KEPT, KEY, &answer)).await;
    kept.map_err(|error| failed(&error))?;
    tracing::info!(records = count, "the primary's own records are kept here");
    Ok(())
}

/// The records kept here, as they are to be written when this node takes the
/// primary's place; nothing where it never stood by.
///
/// # Errors
/// The store's.
pub fn kept(store: &Store) -> Result<Option<Vec<RawRecord>>, store::Error> {
    let kept = store.get(&KEPT, KEY)?;
    Ok(kept.map(|kept| {
        kept.records.into_iter().map(|one| (one.key.to_vec(), one.value.to_vec())).collect()
    }))
}
