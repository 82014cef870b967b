//! Who holds the signed roles, and changing that.

use std::collections::HashMap;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::roles_server::Roles;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::node::Mesh;
use tonic::{Code, Request, Response, Status};

use super::context::{Context, Primary};
use super::signatures::{self, stopped};
use super::status::{check_comment, field, internal};
use crate::identity::peer::Peer;
use crate::log::in_one_line;
use crate::primary::ceremony::{self, Error, Holders, Outcome, Wanted};
use crate::primary::pending;
use crate::primary::publisher::Worker;
use crate::tuf::ceremony as rules;
use crate::tuf::key::{Key, KeyId};
use crate::tuf::paper::Paper;
use crate::tuf::repository::RoleKeys;

/// Roles that one request may change.
const MAX_CHANGES: usize = 16;
/// Papers that one request may bring: one for every role.
const MAX_PAPERS: usize = 16;

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

    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Worker) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let publisher = &self.node.primary()?.publisher;
        publisher.alone(work).await.map_err(stopped)?.map_err(status)
    }
}

#[tonic::async_trait]
impl Roles for Service {
    async fn get_roles(
        &self,
        _request: Request<wire::GetRolesRequest>,
    ) -> Result<Response<wire::GetRolesResponse>, Status> {
        let roles = self.alone(|worker| Ok(holders(worker))).await?;
        Ok(Response::new(wire::GetRolesResponse { roles }))
    }

    async fn prepare_roles(
        &self,
        request: Request<wire::PrepareRolesRequest>,
    ) -> Result<Response<wire::PrepareRolesResponse>, Status> {
        let by = Peer::of(&request).to_string();
        let request = request.into_inner();
        check_comment(&request.comment)?;
        let (publish, comment) = (request.publish, request.comment.clone());
        let wanted = wanted(request)?;
        let answer = self
            .alone(move |worker| {
                let mut papers = ceremony::prepare(worker, &wanted, Timestamp::now())?;
                let mut answer = described(worker, &papers)?;
                if publish {
                    ceremony::sign_here(worker, &mut papers)?;
                    let now = Timestamp::now();
                    match ceremony::publish(worker, papers, by, comment, now)? {
                        Outcome::Published(generation) => answer.generation = generation,
                        Outcome::Waits(pending) => answer.pending = pending.id,
                    }
                }
                Ok(answer)
            })
            .await?;
        Ok(Response::new(answer))
    }

    async fn publish_roles(
        &self,
        request: Request<wire::PublishRolesRequest>,
    ) -> Result<Response<wire::PublishRolesResponse>, Status> {
        let by = Peer::of(&request).to_string();
        let request = request.into_inner();
        check_comment(&request.comment)?;
        if request.papers.len() > MAX_PAPERS {
            return Err(field("papers", &format!("at most {MAX_PAPERS}")));
        }
        let papers = request.papers.iter().map(|paper| serde_json::from_slice::<Paper>(paper));
        let papers = papers.collect::<Result<_, _>>().map_err(|error| field("papers", &error))?;
        let outcome = self
            .alone(move |worker| {
                ceremony::publish(worker, papers, by, request.comment, Timestamp::now())
            })
            .await?;
        Ok(Response::new(match outcome {
            Outcome::Published(generation) => wire::PublishRolesResponse { generation, pending: 0 },
            Outcome::Waits(pending) => {
                wire::PublishRolesResponse { generation: 0, pending: pending.id }
            }
        }))
    }

    async fn reload_keys(
        &self,
        _request: Request<wire::ReloadKeysRequest>,
    ) -> Result<Response<wire::ReloadKeysResponse>, Status> {
        let single_operator = self
            .alone(|worker| {
                let keys = worker.press.signing.keys_mut();
                let folder = keys.folder().ok_or(Error::NoFolder)?.to_owned();
                *keys = RoleKeys::read(&folder)?;
                let custody = worker.press.signing.custody(Timestamp::now());
                Ok(custody.iter().all(|role| role.is_online))
            })
            .await?;
        Ok(Response::new(wire::ReloadKeysResponse { single_operator }))
    }
}

/// Takes a key from every role that it holds, if the root key is here; says
/// what is in the way if it is not.
pub(super) async fn take_away(
    primary: &Primary,
    id: KeyId,
    by: String,
    comment: String,
    answer: &mut wire::RevokeUserResponse,
) -> Result<(), Status> {
    let work = move |worker: &mut Worker| {
        let custody = worker.press.signing.custody(Timestamp::now());
        let held = custody.into_iter().filter(|role| role.holders.keyids().contains(&id));
        let holds: Vec<_> = held.map(|role| role.role.to_string()).collect();
        if holds.is_empty() {
            return (holds, Ok(None));
        }
        let wanted = Wanted { remove: vec![id.as_str().to_owned()], ..Wanted::default() };
        let now = Timestamp::now();
        let outcome = ceremony::prepare(worker, &wanted, now).and_then(|mut papers| {
            ceremony::sign_here(worker, &mut papers)?;
            ceremony::publish(worker, papers, by, comment, now)
        });
        (holds, outcome.map(Some))
    };
    let (holds, outcome) = primary.publisher.alone(work).await.map_err(stopped)?;
    match outcome {
        Ok(None) => {}
        Ok(Some(Outcome::Published(generation))) => answer.generation = generation,
        Ok(Some(Outcome::Waits(pending))) => {
            answer.holds = holds;
            answer.pending = pending.id;
        }
        Err(error) => {
            answer.holds = holds;
            answer.problem = in_one_line(&error);
        }
    }
    Ok(())
}

fn wanted(request: wire::PrepareRolesRequest) -> Result<Wanted, Status> {
    let count = request.changes.len() + request.rotate.len() + request.remove_keys.len();
    if count > MAX_CHANGES {
        return Err(field("changes", &format!("at most {MAX_CHANGES} at a time")));
    }
    let holders = request
        .changes
        .into_iter()
        .map(|change| {
            let users = change.users.iter().map(|user| user.parse());
            Ok(Holders {
                role: change.role,
                public_keys: change.public_keys.iter().map(|key| key.to_vec()).collect(),
                users: users
                    .collect::<Result<_, _>>()
                    .map_err(|error| field("changes.users", &error))?,
                threshold: change.threshold,
            })
        })
        .collect::<Result<_, Status>>()?;
    let (rotate, remove, renew) = (request.rotate, request.remove_keys, request.renew);
    Ok(Wanted { holders, rotate, remove, renew })
}

/// What is to be signed, in words and as it is.
fn described(worker: &Worker, papers: &[Paper]) -> Result<wire::PrepareRolesResponse, Error> {
    let repository = worker.press.signing.repository().ok_or(pending::Error::NoRepository)?;
    let mesh = worker.current.get().mesh.clone();
    let (root, top) = repository.after(papers)?;
    let now = (repository.root(), repository.top());
    let name = |key: &Key| owner(&mesh, key);
    let keys = [now.0, &root].into_iter().flat_map(|root| &root.keys);
    let keys = keys.chain(
        [now.1, &top]
            .into_iter()
            .flat_map(|top| top.delegations.iter().flat_map(|delegations| &delegations.keys)),
    );
    let users: HashMap<_, _> =
        keys.filter_map(|(id, key)| Some((id.as_str().to_owned(), owner(&mesh, key)?))).collect();
    Ok(wire::PrepareRolesResponse {
        papers: papers
            .iter()
            .filter_map(|paper| serde_json::to_vec(paper).ok())
            .map(Into::into)
            .collect(),
        summary: rules::summary(now, (&root, &top), name),
        now: holders(worker),
        users,
        ..Default::default()
    })
}

fn owner(mesh: &Mesh, key: &Key) -> Option<String> {
    mesh.signer(&key.ed25519_bytes()?).map(|user| user.name.to_string())
}

fn holders(worker: &Worker) -> Vec<wire::RoleHolders> {
    let signing = &worker.press.signing;
    let mesh = worker.current.get().mesh.clone();
    let Some(repository) = signing.repository() else { return Vec::new() };
    let custody = signing.custody(Timestamp::now()).into_iter();
    custody
        .map(|one| {
            let authority = repository.authority(&one.role);
            let keys = one.holders.keyids().iter().map(|id| {
                let key = authority.and_then(|authority| authority.keys.get(id));
                let bytes = key.and_then(Key::ed25519_bytes);
                wire::RoleKey {
                    key_id: id.as_str().to_owned(),
                    public_key: bytes.map(|bytes| bytes.to_vec().into()).unwrap_or_default(),
                    user: key.and_then(|key| owner(&mesh, key)).unwrap_or_default(),
                    here: signing.keys().has(id),
                }
            });
            wire::RoleHolders {
                role: one.role.to_string(),
                version: one.version,
                expires_at: Some(timestamp_to_wire(one.expires)),
                threshold: one.holders.threshold().get(),
                keys: keys.collect(),
                online: one.is_online,
            }
        })
        .collect()
}

fn status(error: Error) -> Status {
    let code = match error {
        Error::Pending(error) => return signatures::status(error),
        Error::Draw(_) | Error::Publish(_) | Error::Make(_) => return internal(&error),
        Error::UnknownUser(_) | Error::NoSuchKey(_) => Code::NotFound,
        Error::Key(_)
        | Error::Ambiguous(_)
        | Error::Empty
        | Error::Change(rules::Error::UnknownRole(_)) => Code::InvalidArgument,
        Error::Stale => Code::Aborted,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, in_one_line(&error))
}
