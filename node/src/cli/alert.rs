//! `patchmesh alert`: what is wrong until it is put right.

use clap::{Args, Subcommand};
use patchmesh_proto::admin;
use serde::Serialize;

use super::answer;
use super::output::{Answer, table};
use super::{Context, connect, grpc};

#[derive(Debug, Subcommand)]
pub(crate) enum Alert {
    List(List),
}

/// List what is wrong at a node, or at every node below it
///
/// An alert stays until its cause is gone, over restarts too; nobody takes it
/// back by hand. At headquarters, --all-nodes shows the whole mesh.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh alert list
  patchmesh alert list --all-nodes --output json

JSON:
  {\"alerts\": [{\"node\", \"key\", \"severity\": \"warning\" or \"critical\", \"since\", \"text\", \"heard_at\"}]}")]
pub(crate) struct List {
    /// Those of every node below the one asked too
    #[arg(long)]
    all_nodes: bool,
}

#[derive(Debug, Serialize)]
struct Answered {
    alerts: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    node: String,
    #[serde(flatten)]
    alert: answer::Alert,
    heard_at: Option<String>,
}

impl From<admin::NodeAlert> for Row {
    fn from(row: admin::NodeAlert) -> Self {
        Self {
            heard_at: answer::time(row.heard_at.as_ref()),
            node: row.node,
            alert: row.alert.unwrap_or_default().into(),
        }
    }
}

impl Answer for Answered {
    fn text(&self) -> String {
        if self.alerts.is_empty() {
            return "Nothing is wrong.\n".to_owned();
        }
        let rows = self.alerts.iter().map(|row| {
            [
                row.node.clone(),
                row.alert.severity.to_owned(),
                answer::or_dash(row.alert.since.as_deref()),
                row.alert.key.clone(),
                row.alert.text.clone(),
            ]
        });
        table(["node", "severity", "since", "alert", "text"], rows)
    }
}

impl Alert {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut client = connect::alerts(&connect::Target::choose(&context.global)?)?;
        let request = admin::ListAlertsRequest { all_nodes: self.all_nodes };
        let response = client.list_alerts(request).await.map_err(grpc::failure)?.into_inner();
        let alerts = response.alerts.into_iter().map(Row::from).collect();
        context.output.print(&Answered { alerts })
    }
}
