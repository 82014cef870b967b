//! Sources: adding, listing, synchronising.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::name::SourceName;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::Streamed;
use crate::generation::Generation;
use crate::log::in_one_line;
use crate::primary::sources::{Error, Sources};
use crate::rpc::blocking;
use crate::rpc::context::Context;
use crate::rpc::status::{field, internal};
use crate::source::{Progress, http};

/// Messages of progress that wait for a slow caller.
const QUEUE: usize = 16;
/// How often progress is told.
const PACE: Duration = Duration::from_millis(200);

pub(super) async fn add(
    node: &Context,
    request: wire::AddSourceRequest,
) -> Result<wire::AddSourceResponse, Status> {
    let source = request.source.ok_or_else(|| field("source", "is missing"))?;
    node.primary()?.sources.add(source).await.map_err(status)?;
    Ok(wire::AddSourceResponse {})
}

pub(super) async fn list(node: &Context) -> Result<wire::ListSourcesResponse, Status> {
    let sources = node.primary()?.sources.clone();
    let generation = node.generation();
    let rows = blocking(move || sources.all()).await?;
    let mut counts = BTreeMap::<&str, u64>::new();
    for id in generation.catalogue.keys() {
        *counts.entry(id.update.source.as_str()).or_default() += 1;
    }
    let sources = rows
        .into_iter()
        .map(|(source, sync)| wire::SourceRow {
            revisions: counts.get(source.name.as_str()).copied().unwrap_or_default(),
            subscription: subscription(&generation, &source.name),
            source: Some(shown(source)),
            last_success_at: time(sync.succeeded_at),
            last_attempt_at: time(sync.attempted_at),
            problem: sync.problem,
        })
        .collect();
    Ok(wire::ListSourcesResponse { sources })
}

/// A source as people may see it: what logs in at the vendor is the primary's
/// alone.
fn shown(mut source: wire::Source) -> wire::Source {
    if let Some(apt) = &mut source.apt {
        apt.url = http::shown_text(&apt.url);
    }
    source
}

fn subscription(
    generation: &Generation,
    name: &str,
) -> Option<patchmesh_proto::wire::Subscription> {
    let name: SourceName = name.parse().ok()?;
    generation.mesh.source_subscriptions.get(&name).map(Into::into)
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    (seconds != 0).then(|| Timestamp::from_second(seconds).ok().map(timestamp_to_wire)).flatten()
}

pub(super) fn sync(
    node: &Context,
    request: wire::SyncSourceRequest,
) -> Result<Streamed<wire::SyncSourceResponse>, Status> {
    let sources = node.primary()?.sources.clone();
    let one = match request.name.as_str() {
        "" => None,
        name => Some(name.parse::<SourceName>().map_err(|error| field("name", &error))?),
    };
    let (messages, receiver) = mpsc::channel(QUEUE);
    // A synchronisation goes on when its caller goes away.
    tokio::spawn(async move {
        if let Err(status) = sync_all(&sources, one, &messages).await {
            let _ = messages.send(Err(status)).await;
        }
    });
    Ok(ReceiverStream::new(receiver).boxed())
}

type Messages = mpsc::Sender<Result<wire::SyncSourceResponse, Status>>;

async fn sync_all(
    sources: &Sources,
    one: Option<SourceName>,
    messages: &Messages,
) -> Result<(), Status> {
    let names = match one {
        Some(name) => vec![name],
        None => {
            let sources = sources.clone();
            let all = blocking(move || sources.all()).await?;
            all.iter().filter_map(|(source, _)| source.name.parse().ok()).collect()
        }
    };
    let mut failed = Vec::new();
    for name in names {
        match sync_one(sources, &name, messages).await {
            Ok(()) => {}
            Err(error) => failed.push(error),
        }
    }
    // With one source its own error; with several, all of them together.
    match failed.len() {
        0 => Ok(()),
        1 => Err(failed.remove(0)),
        count => {
            let texts: Vec<_> = failed.iter().map(Status::message).collect();
            Err(Status::failed_precondition(format!(
                "{count} sources failed: {}",
                texts.join("; ")
            )))
        }
    }
}

async fn sync_one(sources: &Sources, name: &SourceName, messages: &Messages) -> Result<(), Status> {
    let step =
        Arc::new(Mutex::new(wire::SyncProgress { source: name.to_string(), ..Default::default() }));
    let noted = step.clone();
    let progress = Progress::new(move |now| {
        let mut step = noted.lock().unwrap_or_else(PoisonError::into_inner);
        now.name.clone_into(&mut step.step);
        step.bytes = now.bytes;
        step.total_bytes = now.total;
    });
    let work = sources.sync(name, &progress);
    tokio::pin!(work);
    let mut pace = tokio::time::interval(PACE);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome.map_err(status)?,
            _ = pace.tick() => {
                let now = step.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // A caller that is slow or gone misses steps, nothing else.
                let _ = messages.try_send(Ok(event(wire::sync_source_response::Event::Progress(now))));
            }
        }
    };
    let outcome = wire::SyncOutcome {
        source: name.to_string(),
        unchanged: outcome.unchanged,
        revisions_new: outcome.new,
        revisions_updated: outcome.updated,
        revisions_known: outcome.known,
        generation: outcome.generation,
        seconds: outcome.took.as_secs_f64(),
    };
    let _ = messages.send(Ok(event(wire::sync_source_response::Event::Outcome(outcome)))).await;
    Ok(())
}

fn event(event: wire::sync_source_response::Event) -> wire::SyncSourceResponse {
    wire::SyncSourceResponse { event: Some(event) }
}

fn status(error: Error) -> Status {
    let code = match &error {
        Error::Taken(_) => Code::AlreadyExists,
        Error::Unknown(_) => Code::NotFound,
        Error::Kind | Error::Apt(_) | Error::Files(_) => {
            return field("source", &in_one_line(&error));
        }
        Error::Busy(_) => Code::Aborted,
        Error::Sync { .. } => Code::FailedPrecondition,
        Error::Store(_) | Error::Publish(_) | Error::Load(_) | Error::Http(_) => {
            return internal(&error);
        }
    };
    Status::new(code, in_one_line(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_shown_without_what_logs_in() {
        let url = "https://me:secret@vendor.example/debian".to_owned();
        let apt = Some(wire::AptSource { url, ..Default::default() });
        let source = shown(wire::Source { apt, ..Default::default() });
        let url = source.apt.map(|apt| apt.url);
        assert_eq!(url.as_deref(), Some("https://vendor.example/debian"));
    }
}
