//! `patchmesh backup list`: what a folder of backups holds.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::backup;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer};
use crate::log::in_one_line;

/// List the backups of a folder
///
/// Works without a node. Only lists of files are read: `verify` reads the
/// files too.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh backup list /srv/backups/patchmesh

JSON:
  {\"backups\": [{\"id\", \"made_at\", \"mesh\", \"node\", \"generation\", \"files\", \"bytes\", \"bytes_added\",
    \"content\", \"software\", \"problem\" or null}]}")]
pub(crate) struct List {
    /// Where backups are kept
    folder: PathBuf,
}

#[derive(Debug, Serialize)]
struct Found {
    backups: Vec<Row>,
}

/// What is not known of a damaged backup is `null`.
#[derive(Debug, Default, Serialize)]
struct Row {
    id: u64,
    made_at: Option<String>,
    mesh: Option<String>,
    node: Option<String>,
    generation: Option<u64>,
    files: Option<u64>,
    bytes: Option<u64>,
    bytes_added: Option<u64>,
    content: Option<bool>,
    software: Option<String>,
    problem: Option<String>,
}

impl From<backup::Listed> for Row {
    fn from(listed: backup::Listed) -> Self {
        let id = listed.id;
        match listed.manifest {
            Err(error) => Self { id, problem: Some(in_one_line(&error)), ..Self::default() },
            Ok(found) => Self {
                id,
                made_at: Some(found.made_at.to_string()),
                files: Some(found.files.len() as u64),
                bytes: Some(found.bytes()),
                bytes_added: Some(found.bytes_added),
                mesh: Some(found.mesh_name),
                node: Some(found.node),
                generation: Some(found.generation),
                content: Some(found.content),
                software: Some(found.software),
                problem: None,
            },
        }
    }
}

impl Answer for Found {
    fn text(&self) -> String {
        let header =
            ["id", "made", "mesh", "node", "generation", "size", "new", "content", "state"];
        let rows = self.backups.iter().map(|row| {
            let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), answer::size);
            let content = row.content.map(|content| if content { "yes" } else { "no" });
            [
                row.id.to_string(),
                answer::or_dash(row.made_at.as_deref()),
                answer::or_dash(row.mesh.as_deref()),
                answer::or_dash(row.node.as_deref()),
                row.generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                size(row.bytes),
                size(row.bytes_added),
                answer::or_dash(content),
                row.problem.clone().unwrap_or_else(|| "good".to_owned()),
            ]
        });
        table(header, rows)
    }
}

impl List {
    pub(crate) fn run(self, context: &Context) -> anyhow::Result<()> {
        let backups = backup::list(&self.folder)?.into_iter().map(Row::from).collect();
        context.output.print(&Found { backups })
    }
}
