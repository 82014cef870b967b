//! What of a view has settled and what is opening.
//!
//! What has settled stays as it is, byte for byte, and what came since is
//! opening, until that is more than [`MAX_OPENING`]. Where a group has several
//! views, they settle on what they have in common, so that they share it.

use std::collections::{HashMap, HashSet};

use super::{FullView, MAX_OPENING, Pool, Pools};
use crate::digest::Sha256;
use crate::revision::{Payload, Revision};

/// Divides what each of a group's new views offers.
///
/// `present` are the group's views as they stand, and `staying` those of them
/// that stay as they are. A view keeps the settled part of any of them that it
/// still offers whole, the largest there is. It settles anew when there is
/// none, when too much is opening beside it, or when both parts would have
/// another file for one package, version and architecture. Then it settles on
/// what all views have; where that leaves too much, on all that it offers.
#[must_use]
pub fn divide<'a>(
    offered: &[Vec<&'a Revision>],
    present: &[&FullView],
    staying: &[&FullView],
) -> Vec<Pools<Vec<&'a Revision>>> {
    let settled = settled(present);
    let kept: Vec<_> = offered
        .iter()
        .map(|offered| settled.iter().find_map(|settled| keep(offered, settled)))
        .collect();
    if kept.iter().all(Option::is_some) {
        return kept.into_iter().flatten().collect();
    }
    let common = common(offered, staying);
    let anew = |(kept, offered): (Option<Pools<_>>, &Vec<&'a Revision>)| {
        kept.unwrap_or_else(|| settle(offered, &common))
    };
    kept.into_iter().zip(offered).map(anew).collect()
}

/// What has settled in some view, the largest first.
fn settled<'v>(present: &[&'v FullView]) -> Vec<HashSet<&'v Sha256>> {
    let mut pools: Vec<&Pool> = Vec::new();
    for full in present {
        let pool = full.pools.settled.as_ref();
        // Views that share it nearly always share the very same.
        if !pools.iter().any(|known| std::ptr::eq(*known, pool) || **known == *pool) {
            pools.push(pool);
        }
    }
    pools.sort_by_key(|pool| std::cmp::Reverse(pool.len()));
    if pools.is_empty() {
        return vec![HashSet::new()];
    }
    pools.into_iter().map(|pool| pool.values().map(|file| &file.sha256).collect()).collect()
}

/// The parts, if what has settled can stay.
fn keep<'a>(
    offered: &[&'a Revision],
    settled: &HashSet<&Sha256>,
) -> Option<Pools<Vec<&'a Revision>>> {
    let (old, new): (Vec<&Revision>, Vec<&Revision>) = offered
        .iter()
        .copied()
        .partition(|one| one.payloads.iter().any(|payload| settled.contains(&payload.sha256)));
    let still: HashSet<&Sha256> = payloads(&old).map(|payload| &payload.sha256).collect();
    let stays = settled.iter().all(|sha256| still.contains(*sha256));
    (stays && new.len() <= MAX_OPENING && !have_twins(&old, &new))
        .then_some(Pools { settled: old, opening: new })
}

/// The files that every view has.
fn common<'a>(offered: &[Vec<&'a Revision>], staying: &[&'a FullView]) -> HashSet<&'a Sha256> {
    let mut views = offered
        .iter()
        .map(|offered| payloads(offered).map(|payload| &payload.sha256).collect::<HashSet<_>>())
        .chain(staying.iter().map(|full| full.files().map(|(_, file)| &file.sha256).collect()));
    let mut common = views.next().unwrap_or_default();
    for view in views {
        common.retain(|sha256| view.contains(sha256));
    }
    common
}

/// Settles anew: on what is in common, unless too much is beside it.
fn settle<'a>(offered: &[&'a Revision], common: &HashSet<&Sha256>) -> Pools<Vec<&'a Revision>> {
    let is_common =
        |one: &Revision| one.payloads.iter().all(|payload| common.contains(&payload.sha256));
    let (shared, own): (Vec<&Revision>, Vec<&Revision>) =
        offered.iter().copied().partition(|one| is_common(one));
    if shared.is_empty() || own.len() > MAX_OPENING || have_twins(&shared, &own) {
        Pools { settled: offered.to_vec(), opening: Vec::new() }
    } else {
        Pools { settled: shared, opening: own }
    }
}

fn payloads<'p, 'a: 'p>(revisions: &'p [&'a Revision]) -> impl Iterator<Item = &'a Payload> + 'p {
    revisions.iter().flat_map(|revision| &revision.payloads)
}

/// Package, version and architecture.
fn name(of: &Payload) -> [&str; 3] {
    [&of.package, &of.version, &of.architecture]
}

/// Whether `new` has another file for a package that is in `old`.
fn have_twins(old: &[&Revision], new: &[&Revision]) -> bool {
    let known: HashMap<_, &Sha256> = payloads(new)
        .filter(|one| !one.control.is_empty())
        .map(|one| (name(one), &one.sha256))
        .collect();
    !known.is_empty()
        && payloads(old).any(|one| known.get(&name(one)).is_some_and(|file| **file != one.sha256))
}

#[cfg(test)]
mod tests;
