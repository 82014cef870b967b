//! `patchmesh update`: what vendors released and what became of it.

use clap::{Args, Subcommand, ValueEnum};
use patchmesh_proto::{admin, wire};
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::RevisionId;
use serde::Serialize;

use super::{Context, answer};

mod facts;
mod list;
mod show;

use facts::Facts;

#[derive(Debug, Subcommand)]
pub(crate) enum Update {
    List(List),
    Show(Show),
}

/// List revisions with their state in every stage
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  patchmesh update list --state new
  patchmesh update list --source debian-security --name 'linux-*' --output json

JSON:
  {\"updates\": [{\"revision\", \"title\", \"architectures\": [TEXT], \"entered_at\", \"bytes\",
   \"states\": [{\"stage\", \"group\", \"state\"}], \"facts\": FACTS or null}], \"total\"}
  FACTS: what the vendor states: {\"classification\", \"severity\", \"products\": [TEXT],
   \"languages\": [TAG], \"cves\": [CVE], \"articles\": [TEXT], \"supersedes\": [NAME],
   \"prerequisites\": [NAME], \"installer\": {\"kind\", \"install\": [TEXT], \"remove\": [TEXT],
   \"success\": [CODE], \"reboot\": [CODE], \"retry\": [CODE], \"time_limit_seconds\"} or null,
   \"reboot\", \"detection\": {\"applies\": RULE or null, \"installed\": RULE or null} or null,
   \"unsigned\"}")]
pub(crate) struct List {
    /// Only of this source
    #[arg(long)]
    source: Option<SourceName>,
    /// Only with this state in some stage and group
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Only with a name like this
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
}

/// Show one revision: files, decisions, assessment, description
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh update show debian-security:bookworm-security/openssl@3.0.15-1~deb12u1

JSON:
  a row of `update list` and \"description\",
  \"payloads\": [{\"package\", \"version\", \"architecture\", \"component\", \"filename\", \"bytes\",
   \"language\", \"place\": PLACE or null, \"sha256\", \"blob\" or null, \"held\"}],
  PLACE: {\"path\", \"mode\" or null, \"owner\" or null, \"group\" or null}: where it is put on machines
  \"approvals\": {\"validation\": [APPROVAL], \"production\": [APPROVAL]},
  \"assessment\": ASSESSMENT or null,
  \"withheld\": [{\"group\", \"package\" or null, \"architecture\" or null, \"reason\"}],
  \"replaced\": [{\"group\", \"by\": REVISION}]: approved, but something newer is offered
  \"openings\": [{\"stage\", \"group\", \"sites\", \"open_sites\", \"open_at\": [SITE], \"closed\" or null}]:
   at how many sites with servers it is open, the first 20 of these, why it is not at the others
  ASSESSMENT as in `patchmesh assess show --help`; APPROVAL as in `patchmesh approvals show --help`")]
pub(crate) struct Show {
    /// The revision, as `update list` shows it
    revision: RevisionId,
}

/// States of a revision in a stage and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Nobody has decided yet
    New,
    /// May be installed
    Approved,
    /// Was declined
    NotApproved,
    /// A re-release of something known; nobody has decided yet
    Updated,
    /// Approved, but its payloads are not here yet
    TemporarilyUnavailable,
}

impl From<State> for admin::UpdateState {
    fn from(state: State) -> Self {
        match state {
            State::New => admin::UpdateState::New,
            State::Approved => admin::UpdateState::Approved,
            State::NotApproved => admin::UpdateState::NotApproved,
            State::Updated => admin::UpdateState::Updated,
            State::TemporarilyUnavailable => admin::UpdateState::TemporarilyUnavailable,
        }
    }
}

impl Update {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        match self {
            Update::List(command) => list::run(command, context).await,
            Update::Show(command) => show::run(&command.revision, context).await,
        }
    }
}

/// A revision in both commands' JSON.
#[derive(Debug, Serialize)]
struct Row {
    revision: String,
    title: String,
    architectures: Vec<String>,
    entered_at: Option<String>,
    bytes: u64,
    states: Vec<GroupState>,
    facts: Option<Facts>,
}

#[derive(Debug, Serialize)]
struct GroupState {
    stage: &'static str,
    group: String,
    state: &'static str,
}

impl From<admin::UpdateRow> for Row {
    fn from(row: admin::UpdateRow) -> Self {
        let states = row.states.into_iter().map(|state| GroupState {
            stage: answer::stage(state.stage()),
            state: answer::state(state.state()),
            group: state.group,
        });
        Self {
            states: states.collect(),
            revision: row.revision,
            title: row.title,
            architectures: row.architectures,
            entered_at: answer::time(row.entered_at.as_ref()),
            bytes: row.bytes,
            facts: row.facts.map(Facts::from),
        }
    }
}

impl Row {
    /// The title, and that nobody signed it where that is so.
    fn shown_title(&self) -> String {
        match &self.facts {
            Some(facts) if facts.unsigned => format!("{} [unsigned]", self.title),
            _ => self.title.clone(),
        }
    }

    /// One word where all groups agree, else each group's.
    fn state_in(&self, stage: wire::Stage) -> String {
        let stage = answer::stage(stage);
        let states: Vec<_> = self.states.iter().filter(|state| state.stage == stage).collect();
        match states.as_slice() {
            [] => "-".to_owned(),
            [first, rest @ ..] if rest.iter().all(|state| state.state == first.state) => {
                first.state.to_owned()
            }
            all => {
                let words = all.iter().map(|state| format!("{} {}", state.group, state.state));
                words.collect::<Vec<_>>().join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_agree_share_a_word() {
        let state = |group: &str, state: &'static str| GroupState {
            stage: "production",
            group: group.to_owned(),
            state,
        };
        let mut row = Row::from(admin::UpdateRow::default());
        assert_eq!(row.state_in(wire::Stage::Production), "-");
        row.states = vec![state("a", "new"), state("b", "new")];
        assert_eq!(row.state_in(wire::Stage::Production), "new");
        row.states.push(state("c", "approved"));
        assert_eq!(row.state_in(wire::Stage::Production), "a new, b new, c approved");
    }
}
