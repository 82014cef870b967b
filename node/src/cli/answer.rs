//! What several commands answer, as JSON and for people: nodes, approval sets,
//! amounts and times. The wire's numbers become words here.

use std::collections::BTreeMap;

use patchmesh_proto::{admin, replication, wire};
use patchmesh_topology::revision::{Classification, Severity};
use serde::Serialize;

use super::subscription::Shown as Subscription;

/// The version and digest of an approval set: equal digests, equal sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ApprovalSet {
    pub(crate) version: u64,
    /// BLAKE3, 64 hexadecimal digits.
    pub(crate) digest: String,
}

impl ApprovalSet {
    /// By stage.
    pub(crate) fn by_stage(sets: &[replication::ApprovalSetStatus]) -> BTreeMap<String, Self> {
        sets.iter().map(|set| (set.stage.clone(), Self::from(set))).collect()
    }

    /// `v3 1a2b3c4d`
    pub(crate) fn short(&self) -> String {
        format!("v{} {}", self.version, self.digest.get(..8).unwrap_or(&self.digest))
    }
}

impl From<&replication::ApprovalSetStatus> for ApprovalSet {
    fn from(set: &replication::ApprovalSetStatus) -> Self {
        Self { version: set.version, digest: hex::encode(&set.digest) }
    }
}

/// How much is wanted and how much of it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Amount {
    pub(crate) wanted: u64,
    pub(crate) held: u64,
}

/// A node as the mesh document states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) role: &'static str,
    pub(crate) parent: Option<String>,
    /// Who stands in for it, in order.
    pub(crate) fallback_parents: Vec<String>,
    pub(crate) site: String,
    pub(crate) url: Option<String>,
    /// Stages that it serves to its own machines.
    pub(crate) stages: Vec<&'static str>,
    pub(crate) membership: &'static str,
    /// What it carries of what is approved.
    pub(crate) subscription: Subscription,
}

impl From<wire::Node> for Node {
    fn from(node: wire::Node) -> Self {
        Self {
            role: role(node.role()),
            membership: membership(node.membership()),
            stages: node.stages().map(stage).collect(),
            subscription: node.subscription.clone().unwrap_or_default().into(),
            parent: some(node.parent),
            fallback_parents: node.fallback_parents,
            url: some(node.url),
            name: node.name,
            site: node.site,
        }
    }
}

/// A node's own word about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OwnWord {
    pub(crate) generation: u64,
    pub(crate) approval_sets: BTreeMap<String, ApprovalSet>,
    pub(crate) payloads: Amount,
    pub(crate) bytes: Amount,
    /// When it said so, by its own clock.
    pub(crate) at: Option<String>,
    /// Since when it cannot learn anything newer.
    pub(crate) stale_since: Option<String>,
    pub(crate) problem: Option<String>,
    pub(crate) software: String,
    pub(crate) certificate_expires_at: Option<String>,
    pub(crate) alerts: Vec<Alert>,
}

/// Something that is wrong until it is put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    pub(crate) key: String,
    pub(crate) severity: &'static str,
    pub(crate) since: Option<String>,
    pub(crate) text: String,
}

impl From<replication::Alert> for Alert {
    fn from(alert: replication::Alert) -> Self {
        Self {
            severity: match alert.severity() {
                replication::AlertSeverity::Critical => "critical",
                // What a newer node says in a word not known here weighs something.
                _ => "warning",
            },
            since: time(alert.since.as_ref()),
            key: alert.key,
            text: alert.text,
        }
    }
}

impl From<replication::NodeStatus> for OwnWord {
    fn from(status: replication::NodeStatus) -> Self {
        Self {
            generation: status.generation,
            approval_sets: ApprovalSet::by_stage(&status.approval_sets),
            payloads: Amount { wanted: status.payloads_wanted, held: status.payloads_held },
            bytes: Amount { wanted: status.bytes_wanted, held: status.bytes_held },
            at: time(status.at.as_ref()),
            stale_since: time(status.stale_since.as_ref()),
            problem: some(status.problem),
            software: status.software,
            certificate_expires_at: time(status.certificate_expires_at.as_ref()),
            alerts: status.alerts.into_iter().map(Alert::from).collect(),
        }
    }
}

/// What a decision changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Decided {
    /// The generation that holds it.
    pub(crate) generation: u64,
    /// The stages that changed, with their new sets.
    pub(crate) approval_sets: BTreeMap<String, ApprovalSet>,
    /// Revisions decided; decisions that stood already are not counted.
    pub(crate) changed: u64,
    /// Revisions whose payloads were not here yet.
    pub(crate) fetching: Vec<String>,
    /// Payloads that could not be fetched, once that was waited for.
    pub(crate) problems: Vec<String>,
    /// What waits for signatures instead.
    pub(crate) pending: Vec<u64>,
    /// What stays out of production for want of evidence, the first of it.
    pub(crate) held: Vec<Held>,
    /// How much of it there is.
    pub(crate) held_total: u64,
}

/// A revision that is not promoted, and what lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) revision: String,
    pub(crate) lacks: Vec<String>,
}

impl From<admin::DecideResponse> for Decided {
    fn from(response: admin::DecideResponse) -> Self {
        Self {
            generation: response.generation,
            approval_sets: ApprovalSet::by_stage(&response.approval_sets),
            changed: response.changed,
            fetching: response.fetching,
            problems: Vec::new(),
            pending: response.pending,
            held: response
                .held
                .into_iter()
                .map(|one| Held { revision: one.revision, lacks: one.lacks })
                .collect(),
            held_total: response.held_total,
        }
    }
}

impl Decided {
    /// What is not promoted, and why.
    fn held_lines(&self) -> impl Iterator<Item = String> {
        let lines = self.held.iter().map(|held| {
            let lacks = held.lacks.join("; ");
            format!("not promoted: {}: {}\n", held.revision, super::output::clean(&lacks))
        });
        let more = self.held_total.saturating_sub(self.held.len() as u64);
        let more = (more > 0).then(|| format!("not promoted: {more} more\n"));
        lines.chain(more)
    }
}

impl super::output::Answer for Decided {
    fn text(&self) -> String {
        let sets =
            self.approval_sets.iter().map(|(stage, set)| format!(", {stage} {}", set.short()));
        // What waits is not decided; of several stages one may be.
        let decided = format!(
            "{} {}; generation {}{}\n",
            counted(self.changed, "revision"),
            if self.pending.is_empty() { "decided" } else { "asked for" },
            self.generation,
            sets.collect::<String>()
        );
        let waits = self
            .pending
            .iter()
            .map(|id| format!("Waiting for signatures: patchmesh pending sign {id} --key FILE\n"));
        std::iter::once(decided).chain(waits).chain(self.held_lines()).collect()
    }
}

/// The word for a stage.
pub(crate) fn stage(stage: wire::Stage) -> &'static str {
    match stage {
        wire::Stage::Validation => "validation",
        wire::Stage::Production => "production",
        wire::Stage::Unspecified => "unknown",
    }
}

fn role(role: wire::Role) -> &'static str {
    match role {
        wire::Role::Primary => "primary",
        wire::Role::Validation => "validation",
        wire::Role::Branch => "branch",
        wire::Role::Unspecified => "unknown",
    }
}

fn membership(membership: wire::Membership) -> &'static str {
    match membership {
        wire::Membership::Invited => "invited",
        wire::Membership::Joined => "joined",
        wire::Membership::Revoked => "revoked",
        wire::Membership::Unspecified => "unknown",
    }
}

/// The word for a classification.
pub(crate) fn classification(kind: wire::Classification) -> &'static str {
    let known = patchmesh_proto::convert::classification(kind.into());
    known.ok().flatten().map_or("unknown", Classification::as_str)
}

/// The word for a severity.
pub(crate) fn severity(severity: wire::Severity) -> Option<&'static str> {
    let known = patchmesh_proto::convert::severity(severity.into());
    known.ok().flatten().map(Severity::as_str)
}

/// The words for the states of an update, one to one with the wire's.
pub(crate) fn state(state: admin::UpdateState) -> &'static str {
    match state {
        admin::UpdateState::New => "new",
        admin::UpdateState::Approved => "approved",
        admin::UpdateState::NotApproved => "not-approved",
        admin::UpdateState::Updated => "updated",
        admin::UpdateState::TemporarilyUnavailable => "temporarily-unavailable",
        admin::UpdateState::Unspecified => "unknown",
    }
}

/// The word for a decision.
pub(crate) fn decision(decision: wire::Decision) -> &'static str {
    match decision {
        wire::Decision::Approved => "approved",
        wire::Decision::Declined => "declined",
        wire::Decision::Unspecified => "unknown",
    }
}

/// RFC 3339 in UTC, to the second; `None` where unset or out of range.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> Option<String> {
    let timestamp = timestamp?;
    jiff::Timestamp::from_second(timestamp.seconds).ok().map(|time| time.to_string())
}

/// `None` for an empty text.
pub(crate) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// `1 revision`, `2 revisions`
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// An absent value in a table.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// A severity in a table or CSV, where it may be that nobody rated it.
pub(crate) fn rating(severity: Option<&str>) -> String {
    severity.unwrap_or("not rated").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_words_for_its_numbers() {
        let node = wire::Node {
            name: "lyon".into(),
            role: wire::Role::Branch.into(),
            parent: "paris".into(),
            site: "emea/fr/lyon".into(),
            stages: vec![wire::Stage::Production.into()],
            membership: wire::Membership::Joined.into(),
            ..wire::Node::default()
        };
        let json = serde_json::to_value(Node::from(node)).expect("JSON");
        let expected = serde_json::json!({
            "name": "lyon", "role": "branch", "parent": "paris", "site": "emea/fr/lyon",
            "fallback_parents": [],
            "url": null, "stages": ["production"], "membership": "joined",
            "subscription": {
                "products": [], "classifications": [], "languages": [], "architectures": [],
            },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_decision_has_its_sets_by_stage() {
        let response = admin::DecideResponse {
            generation: 7,
            approval_sets: vec![replication::ApprovalSetStatus {
                stage: "validation".into(),
                version: 3,
                digest: vec![0xab; 32].into(),
            }],
            changed: 1,
            fetching: vec!["x:y/z@1".into()],
            pending: vec![7],
            ..admin::DecideResponse::default()
        };
        let decided = Decided::from(response);
        let json = serde_json::to_value(&decided).expect("JSON");
        assert_eq!(json["approval_sets"]["validation"]["version"], 3);
        assert_eq!(json["approval_sets"]["validation"]["digest"], "ab".repeat(32));
        assert_eq!(json["fetching"][0], "x:y/z@1");
        let text = super::super::output::Answer::text(&decided);
        assert_eq!(
            text,
            "1 revision asked for; generation 7, validation v3 abababab\n\
             Waiting for signatures: patchmesh pending sign 7 --key FILE\n"
        );
    }
}
