//! `patchmesh update list`.

use patchmesh_proto::wire;
use serde::Serialize;

use super::{List, Row};
use crate::cli::output::{Answer, table};
use crate::cli::select::{self, Filter};
use crate::cli::{Context, answer};

#[derive(Debug, Serialize)]
struct Updates {
    updates: Vec<Row>,
    /// How many there are, also beyond `--limit`.
    total: u64,
}

impl Answer for Updates {
    fn text(&self) -> String {
        let mut text = table(
            ["revision", "validation", "production", "size", "title"],
            self.updates.iter().map(|row| {
                [
                    row.revision.clone(),
                    row.state_in(wire::Stage::Validation),
                    row.state_in(wire::Stage::Production),
                    answer::size(row.bytes),
                    row.shown_title(),
                ]
            }),
        );
        let shown = self.updates.len() as u64;
        if shown < self.total {
            text.push_str(&format!(
                "({shown} of {}; see the rest with a larger --limit)\n",
                self.total
            ));
        }
        text
    }
}

pub(super) async fn run(command: List, context: &Context) -> anyhow::Result<()> {
    let filter = Filter {
        source: command.source.map(|name| name.to_string()).unwrap_or_default(),
        state: command.state.map(Into::into),
        name: command.name.unwrap_or_default(),
    };
    let mut admin = context.admin()?;
    let (rows, total) = select::list(&mut admin, &filter, command.limit).await?;
    let updates = rows.into_iter().map(Row::from).collect();
    context.output.print(&Updates { updates, total })
}
