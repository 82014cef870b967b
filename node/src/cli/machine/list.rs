//! `patchmesh machine list`: machines, a page at a time.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::{GroupName, Site};
use serde::Serialize;

use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};

/// List the machines that have joined
///
/// By name, a page at a time; the answer says where the next page begins.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh machine list
  patchmesh machine list --site emea/fr --group servers --limit 1000
  patchmesh machine list --after pc-0815

JSON:
  {\"machines\": [MACHINE], \"after\" or null, \"total\"}
  MACHINE: {\"name\", \"group\", \"site\", \"enrolled_at\", \"seen_at\", \"revoked_at\", \"events\"}
  \"total\" leaves out machines that were shut out")]
pub(crate) struct List {
    /// Only at this site and below it
    #[arg(long)]
    site: Option<Site>,
    /// Only of this group
    #[arg(long)]
    group: Option<GroupName>,
    /// Machines whose name comes after this one
    #[arg(long, value_name = "NAME")]
    after: Option<String>,
    /// Machines of a page
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

#[derive(Debug, Serialize)]
struct Machines {
    machines: Vec<Row>,
    after: Option<String>,
    total: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) group: String,
    pub(super) site: String,
    pub(super) enrolled_at: Option<String>,
    pub(super) seen_at: Option<String>,
    pub(super) revoked_at: Option<String>,
    pub(super) events: u64,
}

impl From<admin::MachineRow> for Row {
    fn from(row: admin::MachineRow) -> Self {
        Self {
            enrolled_at: answer::time(row.enrolled_at.as_ref()),
            seen_at: answer::time(row.seen_at.as_ref()),
            revoked_at: answer::time(row.revoked_at.as_ref()),
            name: row.name,
            group: row.group,
            site: row.site,
            events: row.events,
        }
    }
}

impl Answer for Machines {
    fn text(&self) -> String {
        let rows = self.machines.iter().map(|row| {
            let seen = row.seen_at.clone().unwrap_or_else(|| "never".to_owned());
            let state = row.revoked_at.as_ref().map_or("", |_| "revoked");
            let (name, group, site) = (row.name.clone(), row.group.clone(), row.site.clone());
            [name, group, site, seen, row.events.to_string(), state.to_owned()]
        });
        let mut text = table(["machine", "group", "site", "last seen", "events", "state"], rows);
        if let Some(after) = &self.after {
            text.push_str(&format!(
                "\n{} of {} machines; go on with --after {after}\n",
                self.machines.len(),
                self.total
            ));
        }
        text
    }
}

impl List {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::ListMachinesRequest {
            page_size: self.limit,
            after: self.after.unwrap_or_default(),
            group: self.group.map(|group| group.to_string()).unwrap_or_default(),
            site: self.site.map(|site| site.to_string()).unwrap_or_default(),
        };
        let response = context.machines()?.list_machines(request).await.map_err(grpc::failure)?;
        let response = response.into_inner();
        context.output.print(&Machines {
            machines: response.machines.into_iter().map(Row::from).collect(),
            after: answer::some(response.after),
            total: response.total,
        })
    }
}
