//! `patchmesh freeze`: times in which nothing opens.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use patchmesh_proto::{admin, convert, wire};
use patchmesh_topology::name::{FreezeName, Site};
use serde::Serialize;

use super::output::{Answer, table};
use super::{Context, answer, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Freeze {
    Add(Add),
    List(List),
    End(End),
}

/// Let nothing open somewhere for a time, such as the end of the year
///
/// What is open stays open for stock clients; machines that ask a plan install
/// nothing. What would open within opens when it ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh freeze add year-end --from 2026-12-18T00:00:00Z --until 2027-01-04T00:00:00Z \\
    --reason 'closing of the books'
  patchmesh freeze add diwali --site apac/in --from 2026-11-06T00:00:00Z \\
    --until 2026-11-11T00:00:00Z --reason 'shops are full' --spare-urgent

JSON:
  {\"freeze\", \"generation\"}")]
pub(crate) struct Add {
    /// Its name
    name: FreezeName,
    /// At this site and below it, once for each [default: everywhere]
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<Site>,
    /// From this instant
    #[arg(long, value_name = "TIME")]
    from: Timestamp,
    /// Until this instant
    #[arg(long, value_name = "TIME")]
    until: Timestamp,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Let urgent rollouts go on
    #[arg(long)]
    spare_urgent: bool,
}

/// List the freezes
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh freeze list

JSON:
  {\"freezes\": [{\"name\", \"sites\": [SITE], \"from\", \"until\", \"reason\", \"spares_urgent\"}]}")]
pub(crate) struct List {}

/// End a freeze
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh freeze end year-end

JSON:
  {\"freeze\", \"generation\"}")]
pub(crate) struct End {
    /// Its name
    name: FreezeName,
}

#[derive(Debug, Serialize)]
struct Changed {
    freeze: String,
    generation: u64,
}

impl Answer for Changed {
    fn text(&self) -> String {
        format!("freeze {}; generation {}\n", self.freeze, self.generation)
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    freezes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    sites: Vec<String>,
    from: Option<String>,
    until: Option<String>,
    reason: String,
    spares_urgent: bool,
}

impl From<wire::Freeze> for Row {
    fn from(freeze: wire::Freeze) -> Self {
        Self {
            name: freeze.name,
            sites: freeze.geographies,
            from: answer::time(freeze.from.as_ref()),
            until: answer::time(freeze.until.as_ref()),
            reason: freeze.reason,
            spares_urgent: freeze.spares_urgent,
        }
    }
}

impl Answer for Rows {
    fn text(&self) -> String {
        table(
            ["freeze", "where", "from", "until", "urgent", "reason"],
            self.freezes.iter().map(|row| {
                let place = match row.sites.as_slice() {
                    [] => "everywhere".to_owned(),
                    sites => sites.join(","),
                };
                [
                    row.name.clone(),
                    place,
                    answer::or_dash(row.from.as_deref()),
                    answer::or_dash(row.until.as_deref()),
                    if row.spares_urgent { "goes on" } else { "waits" }.to_owned(),
                    row.reason.clone(),
                ]
            }),
        )
    }
}

impl Freeze {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = context.rollouts()?;
        match self {
            Self::Add(add) => {
                let freeze = admin::AddFreezeRequest { freeze: Some(add.to_wire()) };
                let response = client.add_freeze(freeze).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { freeze: add.name.to_string(), generation })
            }
            Self::End(End { name }) => {
                let request = admin::RemoveFreezeRequest { name: name.to_string() };
                let response = client.remove_freeze(request).await.map_err(grpc::failure)?;
                let generation = response.into_inner().generation;
                context.output.print(&Changed { freeze: name.to_string(), generation })
            }
            Self::List(List {}) => {
                let request = admin::ListFreezesRequest {};
                let response = client.list_freezes(request).await.map_err(grpc::failure)?;
                let freezes = response.into_inner().freezes.into_iter().map(Row::from).collect();
                context.output.print(&Rows { freezes })
            }
        }
    }
}

impl Add {
    fn to_wire(&self) -> wire::Freeze {
        wire::Freeze {
            name: self.name.to_string(),
            geographies: self.sites.iter().map(ToString::to_string).collect(),
            from: Some(convert::timestamp_to_wire(self.from)),
            until: Some(convert::timestamp_to_wire(self.until)),
            reason: self.reason.clone(),
            spares_urgent: self.spare_urgent,
        }
    }
}
