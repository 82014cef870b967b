//! `patchmesh approvals show`.

use serde::Serialize;

use super::Entry;
use super::which::{Set, Which};
use crate::cli::Context;
use crate::cli::output::{Answer, table};

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    set: Set,
    approvals: Vec<Entry>,
}

impl Answer for Shown {
    fn text(&self) -> String {
        let rows = table(Entry::HEADER, self.approvals.iter().map(Entry::cells));
        format!("{} v{} {}\n\n{rows}", self.set.stage, self.set.version, self.set.digest)
    }
}

pub(super) async fn run(which: &Which, context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let mut set = which.get(&mut admin).await?;
    let approvals = std::mem::take(&mut set.entries);
    context.output.print(&Shown { set, approvals })
}
