//! `patchmesh machine show`: one machine and its last word on everything.

use clap::Args;
use patchmesh_proto::admin;
use patchmesh_topology::name::MachineName;
use serde::Serialize;

use super::list::Row;
use crate::cli::output::{Answer, fields, table};
use crate::cli::{Context, answer, grpc};

/// Show one machine: who it is, and its last word on every revision
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh machine show pc-0815

JSON:
  MACHINE as in `patchmesh machine list --help` and \"revoked_because\",
   \"facts\": [{\"name\", \"value\"}],
   \"words\": [{\"revision\", \"phase\", \"outcome\", \"code\", \"message\", \"at\"}],
   \"outcomes\": [{\"outcome\", \"events\"}],
   \"epochs\": [{\"epoch\", \"began_at\", \"events\", \"has_gaps\"}],
   \"rolled_up\": EVENTS of which only counts came")]
pub(crate) struct Show {
    /// Its name
    name: MachineName,
}

#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    machine: Row,
    revoked_because: Option<String>,
    facts: Vec<Fact>,
    words: Vec<Word>,
    outcomes: Vec<OutcomeCount>,
    epochs: Vec<Epoch>,
    rolled_up: u64,
}

#[derive(Debug, Serialize)]
struct Fact {
    name: String,
    value: String,
}

#[derive(Debug, Serialize)]
struct Word {
    revision: String,
    phase: String,
    outcome: String,
    code: i64,
    message: String,
    at: Option<String>,
}

#[derive(Debug, Serialize)]
struct OutcomeCount {
    outcome: String,
    events: u64,
}

#[derive(Debug, Serialize)]
struct Epoch {
    /// 16 hexadecimal digits.
    epoch: String,
    began_at: Option<String>,
    events: u64,
    has_gaps: bool,
}

impl From<admin::GetMachineResponse> for Shown {
    fn from(response: admin::GetMachineResponse) -> Self {
        let fact = |fact: admin::MachineFact| Fact { name: fact.name, value: fact.value };
        let word = |word: admin::MachineWord| Word {
            at: answer::time(word.at.as_ref()),
            revision: word.revision,
            phase: word.phase,
            outcome: word.outcome,
            code: word.code,
            message: word.message,
        };
        let outcome =
            |one: admin::OutcomeCount| OutcomeCount { outcome: one.outcome, events: one.events };
        let epoch = |one: admin::MachineEpoch| Epoch {
            epoch: format!("{:016x}", one.epoch),
            began_at: answer::time(one.began_at.as_ref()),
            events: one.events,
            has_gaps: one.has_gaps,
        };
        Self {
            machine: response.machine.unwrap_or_default().into(),
            revoked_because: answer::some(response.revoked_because),
            facts: response.facts.into_iter().map(fact).collect(),
            words: response.words.into_iter().map(word).collect(),
            outcomes: response.outcomes.into_iter().map(outcome).collect(),
            epochs: response.epochs.into_iter().map(epoch).collect(),
            rolled_up: response.rolled_up,
        }
    }
}

impl Answer for Shown {
    fn text(&self) -> String {
        let machine = &self.machine;
        let mut text = fields([
            ("machine", Some(machine.name.clone())),
            ("group", Some(machine.group.clone())),
            ("site", Some(machine.site.clone())),
            ("joined", machine.enrolled_at.clone()),
            ("last seen", Some(machine.seen_at.clone().unwrap_or_else(|| "never".to_owned()))),
            ("revoked", machine.revoked_at.clone()),
            ("because", self.revoked_because.clone()),
            ("events", Some(self.events())),
        ]);
        if !self.facts.is_empty() {
            let rows = self.facts.iter().map(|fact| [fact.name.clone(), fact.value.clone()]);
            text.push('\n');
            text.push_str(&table(["fact", "value"], rows));
        }
        if !self.words.is_empty() {
            let rows = self.words.iter().map(|word| {
                let at = word.at.clone().unwrap_or_default();
                let (revision, phase) = (word.revision.clone(), word.phase.clone());
                [
                    revision,
                    phase,
                    word.outcome.clone(),
                    word.code.to_string(),
                    at,
                    word.message.clone(),
                ]
            });
            text.push('\n');
            text.push_str(&table(["revision", "phase", "outcome", "code", "at", "message"], rows));
        }
        text
    }
}

impl Shown {
    /// How many events there were, and of what outcome.
    fn events(&self) -> String {
        let mut text = self.machine.events.to_string();
        if self.rolled_up > 0 {
            text.push_str(&format!(", {} of them rolled up", self.rolled_up));
        }
        let some = self.outcomes.iter().filter(|one| one.events > 0);
        let counts: Vec<String> =
            some.map(|one| format!("{} {}", one.events, one.outcome)).collect();
        if !counts.is_empty() {
            text.push_str(&format!(" ({})", counts.join(", ")));
        }
        text
    }
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::GetMachineRequest { name: self.name.to_string() };
        let response = context.machines()?.get_machine(request).await.map_err(grpc::failure)?;
        context.output.print(&Shown::from(response.into_inner()))
    }
}
