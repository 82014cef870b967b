//! `patchmesh approvals show`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Entry;
use super::which::{Set, Which};
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer};

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    set: Set,
    approvals: Vec<Entry>,
    /// Whether decisions of a baseline are spelled out for people.
    #[serde(skip)]
    expand: bool,
}

impl Answer for Shown {
    fn text(&self) -> String {
        let rows = table(Entry::HEADER, rows(&self.approvals, self.expand));
        format!("{} v{} {}\n\n{rows}", self.set.stage, self.set.version, self.set.digest)
    }
}

/// One row a decision; those of one baseline are one row, unless expanded.
fn rows(entries: &[Entry], expand: bool) -> Vec<[String; 6]> {
    let is_one_of_many = |entry: &Entry| {
        !expand && entry.rule.as_deref().is_some_and(|rule| rule.starts_with("baseline/"))
    };
    let mut rows: Vec<[String; 6]> = Vec::new();
    let mut baselines: BTreeMap<(&str, &str, &str), (usize, &Entry)> = BTreeMap::new();
    for entry in entries {
        if is_one_of_many(entry) {
            let rule = entry.rule.as_deref().unwrap_or_default();
            let key = (rule, entry.group.as_str(), entry.decision);
            baselines.entry(key).or_insert((0, entry)).0 += 1;
        } else {
            rows.push(entry.cells());
        }
    }
    let summary = |((rule, _, _), (count, first)): ((&str, &str, &str), (usize, &Entry))| {
        let [_, group, decision, by, at, comment] = first.cells();
        let count = answer::counted(count as u64, "revision");
        [format!("{rule} ({count})"), group, decision, by, at, comment]
    };
    let mut all: Vec<[String; 6]> = baselines.into_iter().map(summary).collect();
    all.append(&mut rows);
    all
}

pub(super) async fn run(which: &Which, expand: bool, context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let mut set = which.get(&mut admin).await?;
    let approvals = std::mem::take(&mut set.entries);
    context.output.print(&Shown { set, approvals, expand })
}
