//! What a view offers: supersedence and closing together.
//!
//! What is replaced is not offered beside what replaces it, so that nothing is
//! applied twice in a row; but only what can be installed replaces anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ground, Outcome, close};
use crate::revision::{Revision, RevisionId};
use crate::supersedence::{Entry, superseded};

/// How often replacing and closing take turns before replacing is given up.
/// Each turn needs another revision that replaces one and then turns out not
/// to be installable without it.
const MAX_TURNS: usize = 16;

/// What of the open revisions a view offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offered<'a> {
    /// The revisions of which something is offered, in order.
    pub revisions: Vec<&'a Revision>,
    /// What is not, since another of them replaces it.
    pub superseded: BTreeMap<RevisionId, RevisionId>,
    /// What is left out, since it could not be installed.
    pub outcome: Outcome,
}

/// What to offer of `open` revisions, all of them available. Without a
/// `ground` nothing is known of the machines, and nothing is left out.
#[must_use]
pub fn offered<'a>(open: &[Entry<'a>], ground: Option<&Ground>) -> Offered<'a> {
    // What replaced something and could not be installed without it.
    let mut hasty: BTreeSet<&RevisionId> = BTreeSet::new();
    for turn in 0.. {
        let may_replace = turn < MAX_TURNS;
        let offered = replace(open, ground, &hasty, may_replace);
        let failed: Vec<&RevisionId> = offered
            .superseded
            .values()
            .filter(|by| offered.outcome.is_unavailable(by))
            .filter_map(|by| Some(&open.iter().find(|one| one.revision.id == *by)?.revision.id))
            .collect();
        if failed.is_empty() || !may_replace {
            return offered;
        }
        hasty.extend(failed);
    }
    Offered::default()
}

fn replace<'a>(
    open: &[Entry<'a>],
    ground: Option<&Ground>,
    hasty: &BTreeSet<&RevisionId>,
    may_replace: bool,
) -> Offered<'a> {
    let mut kept = open.to_vec();
    let mut replaced: BTreeMap<RevisionId, RevisionId> = BTreeMap::new();
    loop {
        let revisions: Vec<&Revision> = kept.iter().map(|one| one.revision).collect();
        let outcome = ground.map(|ground| close(&revisions, ground)).unwrap_or_default();
        let gone: BTreeSet<&RevisionId> = outcome.unavailable().collect();
        let able: Vec<Entry<'a>> = kept
            .iter()
            .filter(|one| !gone.contains(&one.revision.id) && !hasty.contains(&one.revision.id))
            .copied()
            .collect();
        let mut found = superseded(&able);
        // A hasty one is replaced as any other, it only replaces nothing.
        found.retain(|_, by| !hasty.contains(by));
        if found.is_empty() || !may_replace {
            let revisions = revisions.into_iter().filter(|one| !gone.contains(&one.id)).collect();
            drop(gone);
            return Offered { revisions, superseded: replaced, outcome };
        }
        replaced.extend(found.iter().map(|(old, new)| ((*old).clone(), (*new).clone())));
        kept.retain(|one| !found.contains_key(&one.revision.id));
    }
}
