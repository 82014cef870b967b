//! Which revisions a decision is about: named one by one, or selected among
//! those that nobody has decided on yet; and the question whether to go on.

use std::io::{IsTerminal, Write};

use patchmesh_proto::{admin, wire};
use patchmesh_topology::node::Stage;
use patchmesh_topology::revision::RevisionId;

use super::connect::Admin;
use super::exit::Exit;
use super::{answer, grpc, stage};

/// Rows asked for at a time.
const PAGE: u32 = 1_000;

/// The most rows that one command takes: ten times what the largest suites
/// of a distribution have.
const MAX_ROWS: usize = 500_000;

/// What to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) source: String,
    pub(crate) state: Option<admin::UpdateState>,
    pub(crate) name: String,
}

/// Every row that passes the filter, at most `limit` of them, and how many
/// there are in all.
pub(crate) async fn list(
    admin: &mut Admin,
    filter: &Filter,
    limit: Option<usize>,
) -> anyhow::Result<(Vec<admin::UpdateRow>, u64)> {
    let limit = limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = admin::ListUpdatesRequest {
            source: filter.source.clone(),
            state: filter.state.map_or(0, i32::from),
            name: filter.name.clone(),
            page_size: PAGE.min(u32::try_from(limit - rows.len()).unwrap_or(PAGE)).max(1),
            page_token,
        };
        let response = admin.list_updates(request).await.map_err(grpc::failure)?.into_inner();
        let empty = response.updates.is_empty();
        rows.extend(response.updates);
        page_token = response.next_page_token;
        if page_token.is_empty() || empty || rows.len() >= limit {
            rows.truncate(limit);
            return Ok((rows, response.total));
        }
    }
}

/// The revisions that are new or updated in a stage and whose name fits.
pub(crate) async fn undecided(
    admin: &mut Admin,
    stage: Stage,
    name: &str,
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for state in [admin::UpdateState::New, admin::UpdateState::Updated] {
        let filter = Filter { state: Some(state), name: name.to_owned(), ..Filter::default() };
        let (rows, _) = list(admin, &filter, None).await?;
        found.extend(rows.into_iter().filter(|row| has(row, stage, state)).map(|row| row.revision));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The list is filtered over all stages; here only one counts.
fn has(row: &admin::UpdateRow, stage: Stage, state: admin::UpdateState) -> bool {
    let stage: wire::Stage = stage::to_wire(stage);
    row.states.iter().any(|group| group.stage() == stage && group.state() == state)
}

// How revisions are chosen on the command line. No doc comment: clap would
// take it for the description of the command that this is flattened into.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Choice {
    /// Revisions, as `update list` shows them
    #[arg(value_name = "REVISION")]
    pub(crate) revisions: Vec<RevisionId>,
    /// Everything that is new or updated in the stage
    #[arg(long, conflicts_with_all = ["revisions", "name"])]
    pub(crate) all_new: bool,
    /// What is new or updated in the stage and has a name like this
    #[arg(long, value_name = "GLOB", conflicts_with = "revisions")]
    pub(crate) name: Option<String>,
    /// Do not ask whether the selection is right
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl Choice {
    /// The revisions meant. A selection is shown and has to be confirmed,
    /// since it was never spelled out.
    pub(crate) async fn resolve(
        &self,
        admin: &mut Admin,
        stage: Stage,
        verb: &str,
    ) -> anyhow::Result<Vec<String>> {
        if !self.revisions.is_empty() {
            return Ok(self.revisions.iter().map(ToString::to_string).collect());
        }
        if !self.all_new && self.name.is_none() {
            return Err(Exit::Usage.error(format!(
                "name the revisions to {verb}, or select them with --name GLOB or --all-new"
            )));
        }
        let selected = undecided(admin, stage, self.name.as_deref().unwrap_or("*")).await?;
        if selected.is_empty() {
            return Err(Exit::NotFound.error(format!(
                "nothing that is new or updated in {stage} fits; see `patchmesh update list`"
            )));
        }
        if !self.yes {
            for revision in &selected {
                eprintln!("  {}", super::output::clean(revision));
            }
            confirm(&format!(
                "{verb} {} for {stage}?",
                answer::counted(selected.len() as u64, "revision")
            ))?;
        }
        Ok(selected)
    }
}

/// Asks; where nobody can answer, `--yes` is needed.
pub(crate) fn confirm(question: &str) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Exit::Usage.error(format!("{question} Nobody is here to answer; say --yes")));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut reply = String::new();
    std::io::stdin().read_line(&mut reply)?;
    match reply.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Exit::Interrupted.error("nothing was changed")),
    }
}

/// Asks on a terminal; a script that names what it means is taken at its word.
pub(crate) fn confirm_on_terminal(question: &str) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() { confirm(question) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_state_in_the_stage_counts() {
        let row = admin::UpdateRow {
            states: vec![
                admin::GroupState {
                    stage: wire::Stage::Validation.into(),
                    group: "lab".into(),
                    state: admin::UpdateState::Approved.into(),
                },
                admin::GroupState {
                    stage: wire::Stage::Production.into(),
                    group: "servers".into(),
                    state: admin::UpdateState::New.into(),
                },
            ],
            ..admin::UpdateRow::default()
        };
        assert!(has(&row, Stage::Production, admin::UpdateState::New));
        assert!(!has(&row, Stage::Validation, admin::UpdateState::New));
    }
}
