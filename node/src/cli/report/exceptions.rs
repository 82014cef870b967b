//! `patchmesh report exceptions`: who does without, for how long already.

use clap::Args;
use jiff::Timestamp;
use patchmesh_proto::admin;
use serde::Serialize;

use super::Area;
use crate::cli::exception::age;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer, grpc};
use crate::terminal::sheet::Sheet;

/// List exceptions by age, with how many machines each is for
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  patchmesh report exceptions --group servers

JSON:
  {\"exceptions\": [{\"name\", \"who\", \"what\", \"owner\", \"days\", \"since\", \"until\", \"ended\",
   \"machines\", \"reason\", \"workaround\"}]}
  the oldest comes first; \"days\" is its age")]
pub(crate) struct Exceptions {
    #[command(flatten)]
    area: Area,
}

#[derive(Debug, Serialize)]
struct Aged {
    exceptions: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    who: String,
    what: String,
    owner: String,
    days: i64,
    since: Option<String>,
    until: Option<String>,
    ended: bool,
    machines: u64,
    reason: String,
    workaround: String,
}

impl Row {
    fn of(row: admin::ExceptionRow, now: Timestamp) -> Self {
        let (days, ended) = age(row.since.as_ref(), row.until.as_ref(), now);
        Self {
            days,
            ended,
            since: answer::time(row.since.as_ref()),
            until: answer::time(row.until.as_ref()),
            name: row.name,
            who: row.who,
            what: row.what,
            owner: row.owner,
            machines: row.machines,
            reason: row.reason,
            workaround: row.workaround,
        }
    }

    fn cells(&self) -> [String; 8] {
        let until = answer::or_dash(self.until.as_deref());
        [
            self.name.clone(),
            self.who.clone(),
            self.what.clone(),
            self.owner.clone(),
            self.days.to_string(),
            if self.ended { format!("ended {until}") } else { until },
            self.machines.to_string(),
            self.reason.clone(),
        ]
    }
}

impl Answer for Aged {
    fn text(&self) -> String {
        let header = ["exception", "who", "what", "owner", "days", "until", "machines", "reason"];
        table(header, self.exceptions.iter().map(Row::cells))
    }

    fn sheet(&self) -> Option<Sheet> {
        let header = ["exception", "who", "what", "owner", "days", "until", "machines", "reason"];
        Some(Sheet::new(header, self.exceptions.iter().map(Row::cells)))
    }
}

impl Exceptions {
    pub(crate) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let request = admin::AgeExceptionsRequest { scope: Some(self.area.into_scope()) };
        let response = context.compliance()?.age_exceptions(request).await;
        let now = Timestamp::now();
        let rows = response.map_err(grpc::failure)?.into_inner().rows.into_iter();
        context.output.print(&Aged { exceptions: rows.map(|row| Row::of(row, now)).collect() })
    }
}
