//! `patchmesh exception`: who does without what, why, and until when.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use patchmesh_proto::{admin, convert, wire};
use patchmesh_topology::name::ExceptionName;
use serde::Serialize;

use super::output::{Answer, table};
use super::scope::{Scope, Subject, what, who};
use super::{Context, answer, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Exception {
    Add(Box<Add>),
    List(List),
    End(End),
}

/// Let a machine, group or site do without an update, or all, for a time
///
/// What cannot be patched is looked at again: an exception needs a workaround,
/// somebody who answers for it, and an end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh exception add till-2016 --machine till-17 --until 2027-03-31T00:00:00Z \\
    --reason 'runs only on the old library' --workaround 'behind its own firewall' --owner ada
  patchmesh exception add no-kernel --site emea/fr --update vendor:stable/linux \\
    --until 2027-01-31T00:00:00Z --reason 'driver' --workaround 'none needed' --owner bob

JSON:
  {\"exception\", \"generation\"}")]
pub(crate) struct Add {
    /// Its name
    name: ExceptionName,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    subject: Subject,
    /// Until this instant
    #[arg(long, value_name = "TIME")]
    until: Timestamp,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// What is done instead
    #[arg(long, value_name = "TEXT")]
    workaround: String,
    /// Who answers for it
    #[arg(long, value_name = "NAME")]
    owner: String,
}

/// List the exceptions, those that end first in front
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh exception list

JSON:
  {\"exceptions\": [{\"name\", \"who\", \"what\", \"since\", \"until\", \"days\", \"ended\", \"reason\",
   \"workaround\", \"owner\"}]}
  \"days\" is its age.")]
pub(crate) struct List {}

/// End an exception
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh exception end till-2016

JSON:
  {\"exception\", \"generation\"}")]
pub(crate) struct End {
    /// Its name
    name: ExceptionName,
}

#[derive(Debug, Serialize)]
struct Changed {
    exception: String,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("exception {}; generation {}\n", self.exception, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    exceptions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    who: String,
    what: String,
    since: Option<String>,
    until: Option<String>,
    days: i64,
    ended: bool,
    reason: String,
    workaround: String,
    owner: String,
}

impl Row {
    fn of(one: wire::Exception, now: Timestamp) -> Self {
        let who = who(&one.machine, &one.group, &one.site);
        let what = what(&one.update, &one.revision);
        let (days, ended) = age(one.since.as_ref(), one.until.as_ref(), now);
        Self {
            name: one.name,
            who,
            what,
            days,
            ended,
            since: answer::time(one.since.as_ref()),
            until: answer::time(one.until.as_ref()),
            reason: one.reason,
            workaround: one.workaround,
            owner: one.owner,
        }
    }
}

/// How many days old an exception is, and whether it has ended.
pub(super) fn age(
    since: Option<&prost_types::Timestamp>,
    until: Option<&prost_types::Timestamp>,
    now: Timestamp,
) -> (i64, bool) {
    let second = |at: Option<&prost_types::Timestamp>| at.map_or(0, |at| at.seconds);
    let days = now.as_second().saturating_sub(second(since)) / 86_400;
    (days, second(until) <= now.as_second())
}

impl Answer for Rows {
    fn text(&self) -> String {
        table(
            ["exception", "who", "what", "until", "days", "owner", "reason", "workaround"],
            self.exceptions.iter().map(|row| {
                let until = answer::or_dash(row.until.as_deref());
                [
                    row.name.clone(),
                    row.who.clone(),
                    row.what.clone(),
                    if row.ended { format!("ended {until}") } else { until },
                    row.days.to_string(),
                    row.owner.clone(),
                    row.reason.clone(),
                    row.workaround.clone(),
                ]
            }),
        )
    }
}

impl Exception {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.rollouts()?;
        match self {
            Self::Add(add) => {
                let name = add.name.to_string();
                let request = admin::AddExceptionRequest { exception: Some(add.into_wire()) };
                let response = client.add_exception(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { exception: name, generation })
            }
            Self::End(End { name }) => {
                let request = admin::RemoveExceptionRequest { name: name.to_string() };
                let response = client.remove_exception(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { exception: name.to_string(), generation })
            }
            Self::List(List {}) => {
                let request = admin::ListExceptionsRequest {};
                let response = client.list_exceptions(request).await.map_err(grpc::failure)?;
                let now = Timestamp::now();
                let all = response.into_inner().exceptions.into_iter();
                let mut exceptions: Vec<Row> = all.map(|one| Row::of(one, now)).collect();
                exceptions.sort_by(|a, b| (a.ended, &a.until).cmp(&(b.ended, &b.until)));
                context.output.print(&Rows { exceptions })
            }
        }
    }
}

impl Add {
    fn into_wire(self) -> wire::Exception {
        let [machine, group, site] = self.scope.to_wire();
        let [update, revision] = self.subject.to_wire();
        wire::Exception {
            name: self.name.to_string(),
            machine,
            group,
            site,
            update,
            revision,
            reason: self.reason,
            workaround: self.workaround,
            owner: self.owner,
            // The primary says when it begins.
            since: None,
            until: Some(convert::timestamp_to_wire(self.until)),
        }
    }
}
