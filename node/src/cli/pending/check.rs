//! What a signer's own machine checks before the key is used.
//!
//! The primary says what is to be signed; the signer need not take its word.
//! The metadata must be of the stage's role and name nothing but its
//! decisions; the decisions must be those whose digest it names; and what
//! differs from the decisions that stand must be what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_proto::{admin, convert, document, set};
use patchmesh_topology::approval::release::family;
use patchmesh_topology::approval::{ApprovalSet, Difference, diff};
use patchmesh_topology::name::BaselineName;
use patchmesh_topology::node::Stage;
use prost::bytes::Bytes;

use crate::cli::exit::Exit;
use crate::identity::sha256;
use crate::primary::pending::role_of;
use crate::signed::names;
use crate::tuf::metadata::Targets;
use crate::tuf::paper::Paper;
use crate::tuf::signing::SigningKey;

/// Differences spelled out before signing.
const SHOWN: usize = 50;

/// What the signer asked for: nothing else may change.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The revisions; empty: whichever.
    pub(crate) revisions: BTreeSet<String>,
    /// The groups; empty: whichever.
    pub(crate) groups: BTreeSet<String>,
    /// Whether they are approved, not declined.
    pub(crate) is_approved: bool,
    /// How a release's decisions are marked: what an earlier snapshot had and
    /// this one has not is declined.
    family: Option<String>,
}

impl Asked {
    /// Decisions on these revisions for these groups.
    pub(crate) fn of(revisions: &[String], groups: &[String], is_approved: bool) -> Self {
        Self {
            revisions: revisions.iter().cloned().collect(),
            groups: groups.iter().cloned().collect(),
            is_approved,
            family: None,
        }
    }

    /// A release: these revisions are approved, and what else its decisions
    /// approved before is declined.
    pub(crate) fn of_release(name: &BaselineName, revisions: &[String], groups: &[String]) -> Self {
        Self { family: Some(family(name)), ..Self::of(revisions, groups, true) }
    }

    fn fits(&self, difference: &Difference<'_>) -> bool {
        let Difference { revision, group, before, after } = difference;
        let Some(after) = after else { return false };
        let is_asked = |all: &BTreeSet<String>, one: String| all.is_empty() || all.contains(&one);
        if !is_asked(&self.groups, group.to_string()) {
            return false;
        }
        let Some(family) = &self.family else {
            return after.is_approved() == self.is_approved
                && is_asked(&self.revisions, revision.to_string());
        };
        let is_of_it = after.rule.starts_with(family)
            && before.is_none_or(|before| before.rule.starts_with(family));
        // Nothing by name is overturned: neither an approval nor a decline.
        is_of_it && after.is_approved() == self.revisions.contains(&revision.to_string())
    }
}

/// Signatures, and what they are for in words.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) lines: Vec<String>,
    pub(crate) signatures: Vec<admin::DetachedSignature>,
}

/// Checks what is to be signed, and signs whatever part of it the key may.
pub(crate) fn sign(
    found: &admin::GetPendingResponse,
    key: &SigningKey,
    asked: Option<&Asked>,
) -> anyhow::Result<Signed> {
    let pending = found.pending.clone().unwrap_or_default();
    let papers: Vec<Paper> = found
        .papers
        .iter()
        .map(|paper| serde_json::from_slice(paper))
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&format!("what is to be signed can't be read: {error}")))?;
    if pending.state() != admin::PendingState::Waiting {
        return Err(Exit::Exists.error(format!("{} does not wait any more", pending.id)));
    }
    if pending.kind() == admin::PendingKind::Override {
        let text = format!(
            "{0} needs no signature but another person's consent: `patchmesh pending consent {0}`",
            pending.id
        );
        return Err(Exit::Usage.error(text));
    }
    let lines = if pending.kind() == admin::PendingKind::Decision {
        let stage = convert::stage(pending.stage).map_err(|error| wrong(&error.to_string()))?;
        check_decision(found, stage, &papers, asked)?
    } else if asked.is_some() {
        return Err(wrong("it is not a decision at all"));
    } else {
        pending.summary.clone()
    };
    let key_id = key.id().as_str();
    let mine: BTreeSet<&str> = pending
        .missing
        .iter()
        .filter(|holder| holder.key_id == key_id)
        .map(|holder| holder.role.as_str())
        .collect();
    let has_signed = pending.signers.iter().any(|signer| signer.key_id == key_id);
    if mine.is_empty() && has_signed {
        return Err(Exit::Exists.error("your signature is there already; others are missing"));
    }
    // A key that nobody waits for signs all the same, what people hold before what the root
    // key does: the primary says why it does not count.
    let is_for_people = papers.iter().any(|paper| !paper.role().is_top_level());
    let wanted = |paper: &&Paper| match mine.is_empty() {
        true => !is_for_people || !paper.role().is_top_level(),
        false => mine.contains(paper.role().as_str()),
    };
    let signatures = papers
        .iter()
        .filter(wanted)
        .map(|paper| detached(paper, key))
        .collect::<anyhow::Result<_>>()?;
    Ok(Signed { lines, signatures })
}

fn detached(paper: &Paper, key: &SigningKey) -> anyhow::Result<admin::DetachedSignature> {
    let message = paper.message()?;
    Ok(admin::DetachedSignature {
        role: paper.role().to_string(),
        key_id: key.id().as_str().to_owned(),
        text_sha256: sha256(&message).as_bytes().to_vec().into(),
        signature: key.sign(&message).into(),
    })
}

/// The differences that the signature would bring about, in words.
fn check_decision(
    found: &admin::GetPendingResponse,
    stage: Stage,
    papers: &[Paper],
    asked: Option<&Asked>,
) -> anyhow::Result<Vec<String>> {
    let [paper] = papers else { return Err(wrong("it is about more than one role")) };
    let role = role_of(stage);
    if *paper.role() != role.name() {
        return Err(wrong(&format!("it is about the role {}, not {role}", paper.role())));
    }
    let envelope = paper.envelope::<Targets>().map_err(|error| wrong(&error.to_string()))?;
    let targets = envelope.signed();
    if targets.delegations.is_some() {
        return Err(wrong("it would hand the role on to others"));
    }
    let path = names::approvals(stage);
    let named: Vec<_> = targets.targets.iter().collect();
    let [(name, file)] = named.as_slice() else {
        return Err(wrong("it names more than the stage's decisions"));
    };
    if name.as_str() != path {
        return Err(wrong(&format!("it names {name}")));
    }
    let index_digest = document::reference(&found.index).digest;
    if file.verify(&found.index).is_err() || file.blake3() != Some(*index_digest.as_bytes()) {
        return Err(wrong("the decisions shown are not those that would be signed"));
    }
    let after = read(&found.index, found, stage)?;
    let before = read(&found.index_now, found, stage)?;
    let differences = diff(&before.entries, &after.entries);
    if let Some(asked) = asked {
        for difference in &differences {
            check_asked(difference, asked)?;
        }
    }
    let mut lines: Vec<_> = differences.iter().take(SHOWN).map(in_words).collect();
    if differences.len() > SHOWN {
        lines.push(format!("  and {} more", differences.len() - SHOWN));
    }
    lines.insert(0, format!("Decisions on {stage} that would be new: {}", differences.len()));
    Ok(lines)
}

fn read(
    index: &Bytes,
    found: &admin::GetPendingResponse,
    stage: Stage,
) -> anyhow::Result<ApprovalSet> {
    let documents: BTreeMap<_, _> = found
        .partitions
        .iter()
        .map(|bytes| (document::reference(bytes).digest, bytes.clone()))
        .collect();
    let set = set::read_approvals(index, |name| documents.get(&name.digest).cloned())
        .map_err(|error| wrong(&crate::log::in_one_line(&error)))?;
    if set.stage != stage {
        return Err(wrong(&format!("the decisions are those of {}", set.stage)));
    }
    Ok(set)
}

fn check_asked(difference: &Difference<'_>, asked: &Asked) -> anyhow::Result<()> {
    if asked.fits(difference) {
        return Ok(());
    }
    Err(wrong(&format!("nobody asked for this here: {}", in_words(difference).trim())))
}

fn in_words(difference: &Difference<'_>) -> String {
    let word = match difference.after {
        Some(after) if after.is_approved() => "approve",
        Some(_) => "decline",
        None => "forget",
    };
    format!("  {word} {} for {}", difference.revision, difference.group)
}

fn wrong(why: &str) -> anyhow::Error {
    Exit::BadData.error(format!("not signed, for what the primary shows is not in order: {why}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
