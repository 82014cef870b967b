//! `patchmesh approvals diff`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Entry;
use super::which::{Set, Which};
use crate::cli::exit::Exit;
use crate::cli::output::{Answer, table};
use crate::cli::{Context, answer};

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Compared {
    a: Set,
    b: Set,
    same: bool,
    differences: Vec<Difference>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    revision: String,
    /// Absent where two stages are compared.
    group: Option<String>,
    a: Option<&'static str>,
    b: Option<&'static str>,
}

impl Answer for Compared {
    fn text(&self) -> String {
        let head = |set: &Set| format!("{} v{} {}", set.name, set.version, set.digest);
        if self.same {
            return format!("{}\n{}\nThe decisions are the same.\n", head(&self.a), head(&self.b));
        }
        let rows = self.differences.iter().map(|difference| {
            [
                difference.revision.clone(),
                answer::or_dash(difference.group.as_deref()),
                answer::or_dash(difference.a),
                answer::or_dash(difference.b),
            ]
        });
        let rows = table(["revision", "group", "a", "b"], rows);
        format!("a: {}\nb: {}\n\n{rows}", head(&self.a), head(&self.b))
    }
}

type Key = (String, Option<String>);

/// Decisions by what they are compared by. Without groups a revision counts
/// as approved when it is for some group.
fn decisions(entries: &[Entry], with_groups: bool) -> BTreeMap<Key, &'static str> {
    let mut found = BTreeMap::new();
    for entry in entries {
        let key = (entry.revision.clone(), with_groups.then(|| entry.group.clone()));
        let known = found.entry(key).or_insert(entry.decision);
        if entry.decision == "approved" {
            *known = entry.decision;
        }
    }
    found
}

fn compare(a: Set, b: Set) -> Compared {
    let with_groups = a.stage == b.stage;
    let left = decisions(&a.entries, with_groups);
    let right = decisions(&b.entries, with_groups);
    let mut keys: Vec<&Key> = left.keys().chain(right.keys()).collect();
    keys.sort();
    keys.dedup();
    let differences: Vec<_> = keys
        .into_iter()
        .map(|key| (key, left.get(key).copied(), right.get(key).copied()))
        .filter(|(_, a, b)| a != b)
        .map(|((revision, group), a, b)| Difference {
            revision: revision.clone(),
            group: group.clone(),
            a,
            b,
        })
        .collect();
    Compared { same: differences.is_empty(), a, b, differences }
}

pub(super) async fn run(a: &Which, b: &Which, context: &Context) -> anyhow::Result<()> {
    let mut admin = context.admin()?;
    let left = a.get(&mut admin).await?;
    let right = b.get(&mut admin).await?;
    let compared = compare(left, right);
    context.output.print(&compared)?;
    if compared.same {
        return Ok(());
    }
    let count = compared.differences.len() as u64;
    Err(Exit::Failed.error(format!("{a} and {b} have {}", answer::counted(count, "difference"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(stage: &str, entries: &[(&str, &str, &'static str)]) -> Set {
        let entries = entries.iter().map(|(revision, group, decision)| Entry {
            revision: (*revision).to_owned(),
            group: (*group).to_owned(),
            decision,
            rollout: None,
            rule: None,
            by: "ada".to_owned(),
            at: None,
            comment: String::new(),
        });
        Set {
            name: stage.to_owned(),
            stage: stage.to_owned(),
            version: 1,
            digest: String::new(),
            entries: entries.collect(),
        }
    }

    #[test]
    fn within_a_stage_every_group_counts() {
        let a = set("production", &[("r1", "g1", "approved"), ("r1", "g2", "approved")]);
        let b = set("production", &[("r1", "g1", "approved"), ("r1", "g2", "declined")]);
        let compared = compare(a, b);
        assert!(!compared.same);
        assert_eq!(compared.differences.len(), 1);
        assert_eq!(compared.differences[0].group.as_deref(), Some("g2"));
        assert_eq!(compared.differences[0].b, Some("declined"));
    }

    #[test]
    fn across_stages_only_revisions_count() {
        let a = set("validation", &[("r1", "lab", "approved"), ("r2", "lab", "approved")]);
        let b = set("production", &[("r1", "servers", "declined"), ("r1", "laptops", "approved")]);
        let compared = compare(a, b);
        assert_eq!(compared.differences.len(), 1);
        assert_eq!(compared.differences[0].revision, "r2");
        assert_eq!(compared.differences[0].b, None);
        let json = serde_json::to_value(&compared).expect("JSON");
        assert_eq!(json["differences"][0]["group"], serde_json::Value::Null);
        assert_eq!(json["a"]["stage"], "validation");
    }

    #[test]
    fn equal_sets_are_the_same() {
        let a = set("production", &[("r1", "g1", "approved")]);
        assert!(compare(a.clone(), a).same);
    }
}
