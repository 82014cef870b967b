//! `patchmesh source plan`: when a source is synchronised by itself.

use clap::{ArgGroup, Args};
use patchmesh_proto::admin;
use patchmesh_topology::name::SourceName;
use serde::Serialize;

use crate::cli::output::{Answer, fields};
use crate::cli::{Context, answer, connect, grpc};
use crate::duration;

/// Plan when a source is synchronised by itself
///
/// Without an option it says what is planned. A planned synchronisation that
/// fails runs again 3 times at 30 minutes (settings `retry_times` and
/// `retry_interval`); then it is an alert, until one succeeds.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("when").args(["every", "at", "never"])),
    after_help = "\
Examples:
  patchmesh source plan debian-security --every 6h
  patchmesh source plan windows --at 02:00 --zone Europe/Paris
  patchmesh source plan windows --never

JSON:
  {\"name\", \"plan\": TEXT or null, \"next_at\", \"failures\"}"
)]
pub(crate) struct Plan {
    /// The source's name
    name: SourceName,
    /// So often
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    every: Option<std::time::Duration>,
    /// Every day at this time
    #[arg(long, value_name = "HH:MM")]
    at: Option<String>,
    /// The zone of that time, such as Europe/Paris [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "at")]
    zone: Option<String>,
    /// Not by itself
    #[arg(long)]
    never: bool,
}

#[derive(Debug, Serialize)]
struct Planned {
    name: String,
    plan: Option<String>,
    next_at: Option<String>,
    failures: u32,
}

impl Answer for Planned {
    fn text(&self) -> String {
        let failures = (self.failures > 0).then(|| self.failures.to_string());
        fields([
            ("source", Some(self.name.clone())),
            ("plan", Some(self.plan.clone().unwrap_or_else(|| "not by itself".to_owned()))),
            ("next", self.next_at.clone()),
            ("failed in a row", failures),
        ])
    }
}

impl Plan {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let is_change = self.never || self.every.is_some() || self.at.is_some();
        let plan = admin::SourcePlan {
            // Less than a second is refused there.
            every_seconds: self.every.map_or(0, |every| every.as_secs().max(1)),
            at: self.at.unwrap_or_default(),
            zone: self.zone.unwrap_or_default(),
        };
        let name = self.name.to_string();
        let request =
            admin::PlanSourceRequest { name: name.clone(), plan: is_change.then_some(plan) };
        let mut client = connect::plans(&connect::Target::choose(&context.global)?)?;
        let response = client.plan_source(request).await.map_err(grpc::failure)?.into_inner();
        context.output.print(&Planned {
            name,
            plan: answer::some(response.plan),
            next_at: answer::time(response.due.as_ref()),
            failures: response.failures,
        })
    }
}
