//! `patchmesh nodes`: every node of the mesh and what it last said of itself.

use clap::Args;
use patchmesh_proto::admin;
use serde::Serialize;

use super::answer::{self, Node, OwnWord};
use super::output::{Answer, table};
use super::{Context, grpc};

/// List the nodes and what each says of itself
///
/// A node is converged when it holds the generation and the approval sets
/// that the asked node holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh nodes
  patchmesh nodes --output json

JSON:
  {\"nodes\": [NODE and \"converged\", \"heard_at\", \"status\": STATUS or null]}
  NODE: {\"name\", \"role\", \"parent\", \"fallback_parents\": [NAME], \"site\", \"url\",
   \"stages\": [STAGE], \"membership\",
   \"subscription\": SUBSCRIPTION as in `patchmesh source list`}
  STATUS: {\"generation\", \"approval_sets\": {STAGE: {\"version\", \"digest\"}},
   \"payloads\": {\"wanted\", \"held\"}, \"bytes\": {\"wanted\", \"held\"}, \"at\", \"stale_since\",
   \"problem\", \"software\", \"certificate_expires_at\", \"alerts\": [ALERT]}
  ALERT as in `patchmesh alert list --help`, without \"node\" and \"heard_at\"")]
pub(crate) struct Nodes {}

#[derive(Debug, Serialize)]
struct Answered {
    nodes: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    node: Node,
    converged: bool,
    heard_at: Option<String>,
    status: Option<OwnWord>,
}

impl From<admin::NodeRow> for Row {
    fn from(row: admin::NodeRow) -> Self {
        Self {
            node: row.node.unwrap_or_default().into(),
            converged: row.converged,
            heard_at: answer::time(row.heard_at.as_ref()),
            status: row.status.map(OwnWord::from),
        }
    }
}

impl Row {
    fn cells(&self) -> [String; 11] {
        let status = self.status.as_ref();
        let set = |stage: &str| {
            status
                .and_then(|status| status.approval_sets.get(stage))
                .map(answer::ApprovalSet::short)
        };
        let content =
            status.map(|status| format!("{}/{}", status.payloads.held, status.payloads.wanted));
        let problem = status.and_then(|status| {
            let stale = status.stale_since.as_ref().map(|since| format!("stale since {since}"));
            status.problem.clone().or(stale)
        });
        [
            self.node.name.clone(),
            self.node.role.to_owned(),
            self.node.site.clone(),
            answer::or_dash(self.node.parent.as_deref()),
            self.node.membership.to_owned(),
            status.map_or_else(|| "-".to_owned(), |status| status.generation.to_string()),
            answer::or_dash(set("validation").as_deref()),
            answer::or_dash(set("production").as_deref()),
            answer::or_dash(content.as_deref()),
            self.node.subscription.line(),
            problem
                .unwrap_or_else(|| if self.converged { "converged" } else { "behind" }.to_owned()),
        ]
    }
}

impl Answer for Answered {
    fn text(&self) -> String {
        table(
            [
                "name",
                "role",
                "site",
                "parent",
                "membership",
                "generation",
                "validation",
                "production",
                "content",
                "takes",
                "state",
            ],
            self.nodes.iter().map(Row::cells),
        )
    }
}

impl Nodes {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut admin = context.admin()?;
        let response =
            admin.list_nodes(admin::ListNodesRequest {}).await.map_err(grpc::failure)?.into_inner();
        let nodes = response.nodes.into_iter().map(Row::from).collect();
        context.output.print(&Answered { nodes })
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_proto::{replication, wire};

    use super::*;

    #[test]
    fn a_node_never_heard_of_has_no_status() {
        let row = Row::from(admin::NodeRow {
            node: Some(wire::Node { name: "osaka".into(), ..wire::Node::default() }),
            ..admin::NodeRow::default()
        });
        let json = serde_json::to_value(Answered { nodes: vec![row] }).expect("JSON");
        assert_eq!(json["nodes"][0]["name"], "osaka");
        assert_eq!(json["nodes"][0]["status"], serde_json::Value::Null);
        assert_eq!(json["nodes"][0]["converged"], false);
    }

    #[test]
    fn a_problem_stands_in_the_last_column() {
        let row = Row::from(admin::NodeRow {
            node: Some(wire::Node { name: "osaka".into(), ..wire::Node::default() }),
            status: Some(replication::NodeStatus {
                generation: 4,
                problem: "parent unreachable".into(),
                ..replication::NodeStatus::default()
            }),
            ..admin::NodeRow::default()
        });
        let text = Answered { nodes: vec![row] }.text();
        assert!(text.ends_with("parent unreachable\n"), "{text}");
    }
}
