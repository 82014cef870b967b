//! `CreateBackup`: a backup of this node while it runs.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use patchmesh_proto::admin as wire;
use patchmesh_proto::admin::backup_server::Backup;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::status::{field, internal};
use crate::backup::{self, Error, Made, Options, Progress, Source};
use crate::log::in_one_line;

/// Messages that wait for a slow caller.
const QUEUE: usize = 4;
/// How often progress is told.
const PACE: Duration = Duration::from_millis(200);

type Message = Result<wire::CreateBackupResponse, Status>;

/// Makes backups, one at a time.
#[derive(Debug, Clone)]
pub struct Service {
    node: Context,
    turn: Arc<Mutex<()>>,
}

impl Service {
    /// Of this node.
    #[must_use]
    pub fn new(node: Context) -> Self {
        Self { node, turn: Arc::default() }
    }

    fn source(&self) -> Source {
        let generation = self.node.generation();
        let this = generation.mesh.node(&self.node.name);
        Source {
            store: self.node.store.clone(),
            mesh_id: generation.mesh.id.clone(),
            mesh_name: generation.mesh.name.clone(),
            node: self.node.name.to_string(),
            url: this.map(|this| this.url.clone()).unwrap_or_default(),
            roles: generation.roles.iter().map(|one| (one.role.clone(), one.version)).collect(),
            payloads: generation.bound.keys().copied().collect(),
        }
    }
}

#[tonic::async_trait]
impl Backup for Service {
    type CreateBackupStream = Pin<Box<dyn Stream<Item = Message> + Send>>;

    async fn create_backup(
        &self,
        request: Request<wire::CreateBackupRequest>,
    ) -> Result<Response<Self::CreateBackupStream>, Status> {
        let request = request.into_inner();
        self.node.primary()?;
        let folder = PathBuf::from(&request.folder);
        if !folder.is_absolute() {
            return Err(field("folder", "has to be an absolute path on the primary's host"));
        }
        let turn = self.turn.clone().try_lock_owned();
        let turn = turn.map_err(|_| Status::aborted("another backup is being made"))?;
        let options = Options {
            folder,
            keep: (request.keep > 0).then_some(request.keep as usize),
            without_content: request.without_content,
        };
        let source = self.source();
        let (messages, receiver) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut watcher = Teller { messages: messages.clone(), told_at: None };
            let outcome = backup::create(&source, &options, &mut |step| watcher.tell(step));
            let last = outcome.map(|made| finished(&made)).map_err(|error| status(&error));
            if let Ok(last) = &last {
                tracing::info!(
                    backup = last.id,
                    folder = %options.folder.display(),
                    bytes_added = last.bytes_added,
                    "backup made"
                );
            }
            // Whoever has gone away finds it in the list.
            let _ = messages.blocking_send(last);
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }
}

/// Tells the caller of progress, not too often.
struct Teller {
    messages: mpsc::Sender<Message>,
    told_at: Option<Instant>,
}

impl Teller {
    /// Whether the caller is still there.
    fn tell(&mut self, step: Progress) -> bool {
        if self.told_at.is_some_and(|at| at.elapsed() < PACE) {
            return !self.messages.is_closed();
        }
        self.told_at = Some(Instant::now());
        self.messages.blocking_send(Ok(response(step))).is_ok()
    }
}

fn response(step: Progress) -> wire::CreateBackupResponse {
    wire::CreateBackupResponse {
        files_done: step.files_done,
        files_total: step.files_total,
        bytes_done: step.bytes_done,
        bytes_total: step.bytes_total,
        bytes_added: step.bytes_added,
        ..wire::CreateBackupResponse::default()
    }
}

fn finished(made: &Made) -> wire::CreateBackupResponse {
    let (files, bytes) = (made.manifest.files.len() as u64, made.manifest.bytes());
    wire::CreateBackupResponse {
        files_done: files,
        files_total: files,
        bytes_done: bytes,
        bytes_total: bytes,
        bytes_added: made.manifest.bytes_added,
        finished: true,
        id: made.manifest.id,
        generation: made.manifest.generation,
        pruned: made.pruned,
    }
}

fn status(error: &Error) -> Status {
    let text = in_one_line(error);
    match error {
        Error::Foreign { .. } | Error::Inside(_) => Status::failed_precondition(text),
        Error::Busy(_) => Status::aborted(text),
        Error::Damaged { .. } | Error::SourceDamaged(_) | Error::Newer { .. } => {
            Status::data_loss(text)
        }
        Error::Stopped => Status::cancelled(text),
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Status::permission_denied(text)
        }
        Error::Io { .. } => Status::failed_precondition(text),
        error => internal(error),
    }
}
