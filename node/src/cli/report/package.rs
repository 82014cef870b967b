//! `patchmesh report package NAME`: who has a package.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use crate::agent::inventory::listing::state_of;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// List the machines of a node that have a package, whoever installed it
///
/// By the inventories that machines told this node last, approved or not. Each node knows those
/// that report to it: name one with --node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh report package openssl
  patchmesh report package openssl --node paris --output csv

JSON:
  {\"package\", \"machines\": [{\"machine\", \"version\", \"architecture\", \"format\", \"fault\",
   \"held\", \"told_at\"}], \"looked_at\", \"is_cut\"}
  \"looked_at\" is how many machines this node has an inventory of")]
pub(crate) struct Package {
    /// Its name, as its manager has it
    name: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    package: String,
    machines: Vec<Row>,
    looked_at: u64,
    is_cut: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    machine: String,
    version: String,
    architecture: String,
    format: String,
    fault: String,
    held: bool,
    told_at: Option<String>,
}

impl From<admin::FoundPackage> for Row {
    fn from(found: admin::FoundPackage) -> Self {
        let package = found.package.unwrap_or_default();
        Self {
            machine: found.machine,
            version: package.version,
            architecture: package.architecture,
            format: package.format,
            fault: package.fault,
            held: package.held,
            told_at: answer::time(found.at.as_ref()),
        }
    }
}

const HEADER: [&str; 6] = ["machine", "version", "architecture", "format", "state", "told_at"];

impl Row {
    fn cells(&self) -> [String; 6] {
        [
            self.machine.clone(),
            self.version.clone(),
            self.architecture.clone(),
            self.format.clone(),
            state_of(&self.fault, self.held).to_owned(),
            answer::or_dash(self.told_at.as_deref()),
        ]
    }
}

impl Answer for Listed {
    fn text(&self) -> String {
        let rows = table(HEADER, self.machines.iter().map(Row::cells));
        let (found, cut) =
            (self.machines.len(), if self.is_cut { ", and there are more" } else { "" });
        let Self { package, looked_at, .. } = self;
        format!("{rows}\n{package} is there {found} times on {looked_at} machines{cut}\n")
    }

    fn sheet(&self) -> Option<Sheet> {
        Some(Sheet::new(HEADER, self.machines.iter().map(Row::cells)))
    }
}

impl Package {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::FindPackageRequest { name: self.name.clone() };
        let response = context.machines()?.find_package(request).await.map_err(grpc::failure)?;
        let admin::FindPackageResponse { found, is_cut, machines } = response.into_inner();
        context.output.print(&Listed {
            package: self.name,
            machines: found.into_iter().map(Row::from).collect(),
            looked_at: machines,
            is_cut,
        })
    }
}
