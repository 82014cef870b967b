//! What `approve`, `decline` and `promote` share: waiting for the payloads of
//! what was approved, and the answer.

use std::path::Path;

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::RolloutName;

use super::answer::{self, Decided};
use super::connect::Admin;
use super::exit::Exit;
use super::pending::{self, Asked};
use super::progress::Progress;
use super::{Context, grpc};

// Which plan opens what is decided. No doc comment: clap would take it for the
// description of the command that this is flattened into.
#[derive(Debug, Args)]
pub(crate) struct Opening {
    /// The rollout that opens it [default: everywhere at once]
    #[arg(long, value_name = "NAME")]
    rollout: Option<RolloutName>,
    /// Also where waves of the rollout are open after the first, without passing
    /// their gates
    #[arg(long, requires = "rollout")]
    pub(crate) into_open_waves: bool,
}

impl Opening {
    /// The plan's name, as a request has it.
    pub(crate) fn rollout(&self) -> String {
        self.rollout.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// Waits, if asked to, until every payload is here, and prints what was
/// decided. The decision stands also when payloads could not be had: that is
/// told, and ends with [`Exit::Failed`].
pub(crate) async fn finish(
    context: &Context,
    admin: &mut Admin,
    response: admin::DecideResponse,
    is_waited_for: bool,
    signing: Option<(&Path, &Asked)>,
) -> anyhow::Result<()> {
    let decided = wait(context, admin, response, is_waited_for, signing).await?;
    context.output.print(&decided)?;
    check(&decided.problems)
}

/// Waits, if asked to, until every payload is here.
pub(crate) async fn wait(
    context: &Context,
    admin: &mut Admin,
    response: admin::DecideResponse,
    is_waited_for: bool,
    signing: Option<(&Path, &Asked)>,
) -> anyhow::Result<Decided> {
    let mut decided = Decided::from(response);
    if let Some((key, asked)) = signing
        && !decided.pending.is_empty()
    {
        let (waiting, generation) =
            pending::sign_decided(context, &decided.pending, key, asked).await?;
        if waiting.is_empty() && asked.is_approved {
            decided.fetching = asked.revisions.iter().cloned().collect();
        }
        decided.pending = waiting;
        decided.generation = generation.unwrap_or(decided.generation);
    }
    if is_waited_for && !decided.fetching.is_empty() {
        decided.problems = fetch(context, admin, decided.fetching.clone()).await?;
    }
    Ok(decided)
}

/// Fails where payloads could not be had.
pub(crate) fn check(problems: &[String]) -> anyhow::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Exit::Failed.error(format!(
        "the decision stands, but payloads could not be fetched: {}",
        problems.join("; ")
    )))
}

/// Follows the fetching to its end and returns what could not be had.
async fn fetch(
    context: &Context,
    admin: &mut Admin,
    revisions: Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let text = format!("fetching {}", answer::counted(revisions.len() as u64, "revision"));
    let bar = context.progress.bytes(text);
    let request = admin::WatchAvailabilityRequest { revisions };
    let mut stream = admin.watch_availability(request).await.map_err(grpc::failure)?.into_inner();
    let mut last = None;
    while let Some(message) = stream.message().await.map_err(grpc::failure)? {
        Progress::set(&bar, message.bytes_held, message.bytes_wanted);
        let finished = message.finished;
        last = Some(message);
        if finished {
            break;
        }
    }
    bar.finish_and_clear();
    match last {
        Some(message) if message.finished => Ok(message.problems),
        _ => Err(Exit::Unavailable.error("the node stopped before every payload was here")),
    }
}
