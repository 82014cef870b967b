//! A pending change as it is printed.

use patchmesh_proto::{admin, wire};
use serde::Serialize;

use super::time;
use crate::cli::answer;
use crate::cli::output::{Answer, clean, fields};

/// Changes spelled out in text; JSON has all of them.
const SHOWN: usize = 50;

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) by: String,
    pub(crate) comment: String,
    pub(crate) created_at: Option<String>,
    pub(crate) stage: Option<&'static str>,
    pub(crate) changes: Vec<Change>,
    pub(crate) summary: Vec<String>,
    pub(crate) parts: Vec<Part>,
    pub(crate) signers: Vec<Signer>,
    pub(crate) missing: Vec<Signer>,
    pub(crate) note: Option<String>,
    pub(crate) generation: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Change {
    revision: String,
    group: String,
    decision: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    role: String,
    signatures: u32,
    threshold: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Signer {
    user: Option<String>,
    key_id: String,
    role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

impl Signer {
    fn name(&self) -> String {
        let short = || format!("key {}", self.key_id.get(..12).unwrap_or(&self.key_id));
        self.user.clone().unwrap_or_else(short)
    }
}

impl Row {
    /// What it is, in a few words.
    pub(crate) fn what(&self) -> String {
        match self.stage {
            Some(_) if self.kind == "override" => {
                let count = answer::counted(self.changes.len() as u64, "decision");
                format!("override: {count} without evidence")
            }
            Some(stage) => format!("{stage}: {}", self.summary_or_changes()),
            None => format!("{}: {}", self.kind, self.summary.join("; ")),
        }
    }

    fn summary_or_changes(&self) -> String {
        if self.summary.is_empty() {
            answer::counted(self.changes.len() as u64, "decision")
        } else {
            self.summary.join(", ")
        }
    }

    /// `1 of 2`, for each role.
    pub(crate) fn count(&self) -> String {
        if self.needs_consent() {
            return "needs consent".to_owned();
        }
        if self.parts.is_empty() {
            return self.signers.len().to_string();
        }
        let one = |part: &Part| format!("{} of {}", part.signatures, part.threshold);
        match self.parts.as_slice() {
            [part] => one(part),
            parts => parts
                .iter()
                .map(|part| format!("{} {}", part.role, one(part)))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }

    /// Whether it waits for another person's consent instead of signatures.
    fn needs_consent(&self) -> bool {
        self.kind == "override" && self.state == "waiting"
    }

    /// Who may sign and has not.
    pub(crate) fn missing_users(&self) -> String {
        let mut names: Vec<_> = self.missing.iter().map(Signer::name).collect();
        names.dedup();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    }
}

impl Answer for Row {
    fn text(&self) -> String {
        let signers: Vec<_> = self.signers.iter().map(Signer::name).collect();
        let mut text = fields([
            ("pending", Some(format!("{} ({})", self.id, self.state))),
            ("what", Some(self.what())),
            ("by", Some(self.by.clone())),
            ("comment", (!self.comment.is_empty()).then(|| self.comment.clone())),
            ("asked", self.created_at.clone()),
            ("signed", Some(self.count())),
            ("signed by", (!signers.is_empty()).then(|| signers.join(", "))),
            ("missing", (!self.missing.is_empty()).then(|| self.missing_users())),
            ("note", self.note.clone()),
            ("generation", self.generation.map(|number| number.to_string())),
        ]);
        if self.kind == "override" {
            text.extend(self.summary.iter().map(|one| format!("  lacks: {}\n", clean(one))));
        }
        for change in self.changes.iter().take(SHOWN) {
            text += &format!("  {} {} for {}\n", change.decision, change.revision, change.group);
        }
        if self.changes.len() > SHOWN {
            text += &format!("  and {} more\n", self.changes.len() - SHOWN);
        }
        text
    }
}

impl From<admin::Pending> for Row {
    fn from(pending: admin::Pending) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        Self {
            id: pending.id,
            kind: match pending.kind() {
                admin::PendingKind::Decision => "decision",
                admin::PendingKind::Roles => "roles",
                admin::PendingKind::Renewal => "renewal",
                admin::PendingKind::Override => "override",
                admin::PendingKind::Unspecified => "unknown",
            },
            state: match pending.state() {
                admin::PendingState::Waiting => "waiting",
                admin::PendingState::Published => "published",
                admin::PendingState::Withdrawn => "withdrawn",
                admin::PendingState::Unspecified => "unknown",
            },
            stage: (pending.stage() != wire::Stage::Unspecified)
                .then(|| answer::stage(pending.stage())),
            created_at: time(pending.created_at.as_ref()),
            changes: pending
                .changes
                .iter()
                .map(|change| Change {
                    revision: change.revision.clone(),
                    group: change.group.clone(),
                    decision: match change.decision() {
                        wire::Decision::Approved => "approve",
                        wire::Decision::Declined => "decline",
                        wire::Decision::Unspecified => "unknown",
                    },
                })
                .collect(),
            by: pending.by,
            comment: pending.comment,
            summary: pending.summary,
            parts: pending
                .parts
                .into_iter()
                .map(|part| Part {
                    role: part.role,
                    signatures: part.signatures,
                    threshold: part.threshold,
                })
                .collect(),
            signers: pending
                .signers
                .into_iter()
                .map(|one| Signer {
                    at: time(one.at.as_ref()),
                    user: some(one.user),
                    key_id: one.key_id,
                    role: one.role,
                })
                .collect(),
            missing: pending
                .missing
                .into_iter()
                .map(|one| Signer {
                    at: None,
                    user: some(one.user),
                    key_id: one.key_id,
                    role: one.role,
                })
                .collect(),
            note: some(pending.note),
            generation: (pending.generation != 0).then_some(pending.generation),
        }
    }
}
