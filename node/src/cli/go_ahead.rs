//! `patchmesh go-ahead`: what waits for a person at machines goes from afar.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::{admin, convert, wire};
use serde::Serialize;

use super::output::{Answer, table};
use super::scope::{Scope, Subject, what, who};
use super::{Context, answer, grpc};
use crate::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum GoAhead {
    Give(Give),
    List(List),
    Withdraw(Withdraw),
}

/// Let machines go ahead with what waits for a person there
///
/// What `agent install` does at a machine, from headquarters: what their group leaves to a person, or to
/// a time, is installed or removed as soon as they hear of it. It opens nothing: waves, windows, freezes and
/// brakes hold as ever. Nor is it about what is opened later.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh go-ahead give --machine db-01
  patchmesh go-ahead give --site emea/fr/lyon --valid 2h
  patchmesh go-ahead give --group servers --revision vendor:stable/openssl@3.0.17-1 --valid 4h

JSON:
  {\"who\", \"what\", \"until\", \"generation\"}")]
pub(crate) struct Give {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    subject: Subject,
    /// For machines that hear of it within this time, up to 31 days
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration::parse)]
    valid: Duration,
}

/// List what machines may go ahead with
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh go-ahead list

JSON:
  {\"go_aheads\": [{\"who\", \"what\", \"by\", \"at\", \"until\", \"ended\"}]}")]
pub(crate) struct List {}

/// Take a go-ahead back, for machines that have not heard of it
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh go-ahead withdraw --machine db-01

JSON:
  {\"who\", \"what\", \"until\": null, \"generation\"}")]
pub(crate) struct Withdraw {
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    subject: Subject,
}

#[derive(Debug, Serialize)]
struct Changed {
    who: String,
    what: String,
    until: Option<String>,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        let Self { who, what, until, generation } = self;
        match until {
            Some(until) => {
                format!("{who} goes ahead with {what} until {until}; generation {generation}\n")
            }
            None => format!("{who} goes ahead with {what} no more; generation {generation}\n"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    go_aheads: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    who: String,
    what: String,
    by: String,
    at: Option<String>,
    until: Option<String>,
    ended: bool,
}

impl Row {
    fn of(one: wire::GoAhead, now: Timestamp) -> Self {
        let until = one.until.as_ref().and_then(|until| convert::time(Some(*until)).ok());
        Self {
            who: who(&one.machine, &one.group, &one.site),
            what: what(&one.update, &one.revision),
            at: answer::time(one.at.as_ref()),
            until: answer::time(one.until.as_ref()),
            ended: until.is_some_and(|until| until <= now),
            by: one.by,
        }
    }
}

impl Answer for Rows {
    fn text(&self) -> String {
        table(
            ["who", "what", "by", "since", "until"],
            self.go_aheads.iter().map(|row| {
                let until = answer::or_dash(row.until.as_deref());
                [
                    row.who.clone(),
                    row.what.clone(),
                    row.by.clone(),
                    answer::or_dash(row.at.as_deref()),
                    if row.ended { format!("{until} (over)") } else { until },
                ]
            }),
        )
    }
}

impl GoAhead {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.rollouts()?;
        match self {
            Self::Give(Give { scope, subject, valid }) => {
                let valid = SignedDuration::try_from(valid)?;
                let until = Timestamp::now().checked_add(valid)?;
                let go_ahead = wire::GoAhead {
                    until: Some(convert::timestamp_to_wire(until)),
                    ..named(&scope, &subject)
                };
                let shown = Row::of(go_ahead.clone(), Timestamp::now());
                let request = admin::GiveGoAheadRequest { go_ahead: Some(go_ahead) };
                let response = client.give_go_ahead(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                let Row { who, what, until, .. } = shown;
                context.output.print(&Changed { who, what, until, generation })
            }
            Self::Withdraw(Withdraw { scope, subject }) => {
                let go_ahead = named(&scope, &subject);
                let Row { who, what, .. } = Row::of(go_ahead.clone(), Timestamp::now());
                let request = admin::WithdrawGoAheadRequest { go_ahead: Some(go_ahead) };
                let response = client.withdraw_go_ahead(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { who, what, until: None, generation })
            }
            Self::List(List {}) => {
                let request = admin::ListGoAheadsRequest {};
                let response = client.list_go_aheads(request).await.map_err(grpc::failure)?;
                let now = Timestamp::now();
                let go_aheads = response.into_inner().go_aheads;
                let go_aheads = go_aheads.into_iter().map(|one| Row::of(one, now)).collect();
                context.output.print(&Rows { go_aheads })
            }
        }
    }
}

fn named(scope: &Scope, subject: &Subject) -> wire::GoAhead {
    let ([machine, group, site], [update, revision]) = (scope.to_wire(), subject.to_wire());
    wire::GoAhead { machine, group, site, update, revision, ..wire::GoAhead::default() }
}
