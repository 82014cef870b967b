//! What a machine installs now, and why not the rest.

use std::collections::{HashMap, HashSet};

use super::needs::{self, Needs, Part};
use super::placed::{self, Taken};
use super::{Inventory, State, Verdict, held, verdict};
use crate::closure::Along;
use crate::revision::{Payload, Reference, Revision, RevisionId, UpdateId};
use crate::supersedence::{Entry, superseded};

/// A revision that a machine knows of.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// It, with its place among those of its update.
    pub entry: Entry<'a>,
    /// Whether it may be installed here and now. Others count as prerequisites
    /// that are there or not.
    pub is_offered: bool,
    /// Whether all its files are blobs of the mesh.
    pub is_bound: bool,
}

/// Where a revision stands on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<'a> {
    /// It is to be installed.
    Chosen,
    /// It is needed, but may not be installed here now.
    NotOffered,
    /// It is needed, and something that is chosen or there replaces it.
    Superseded(&'a RevisionId),
    /// Its content or what it needs is not there yet.
    TemporarilyUnavailable(Lack<'a>),
    /// The machine's administrator keeps these of its packages as they are.
    Held(Vec<&'a str>),
    /// It is needed, and a path of it belongs to another revision that it does not replace.
    Taken(Taken<'a>),
    /// It is not needed, or nobody can tell.
    Settled,
}

/// What lacks for a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack<'a> {
    /// Its files are not blobs of the mesh.
    Content,
    /// This has to be installed before, and is neither there nor chosen.
    Prerequisite(&'a Reference),
    /// Its packages need, or exclude, what the machine would not, or would, have.
    /// A sentence about it.
    Needs(String),
}

/// A revision, what it is to the machine, and what comes of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// What it is to the machine.
    pub verdict: Verdict,
    /// What comes of it.
    pub standing: Standing<'a>,
    /// The files to install, where it is chosen.
    pub parts: Vec<Part<'a>>,
    /// Places of other choices that have to go with it, where it is chosen.
    pub needs: Vec<usize>,
}

/// How often what cannot be had is left out and its predecessors come back.
const MAX_TURNS: usize = 16;

/// Looks at all candidates together: one choice for each, in their order, and
/// the places of those that are chosen, what is needed first coming first.
/// `may_bring` says whether a file may come along that is needed by others alone: its
/// content is in the mesh, and nothing removes it.
#[must_use]
pub fn choose<'a>(
    candidates: &[Candidate<'a>],
    machine: &'a Inventory,
    may_bring: &dyn Fn(&Payload) -> bool,
) -> (Vec<Choice<'a>>, Vec<usize>) {
    let taken = placed::taken(candidates, machine);
    let mut choices: Vec<Choice<'a>> = candidates
        .iter()
        .enumerate()
        .map(|(index, one)| first_look(*one, taken.get(&index), machine))
        .collect();
    placed::settle(candidates, &mut choices);
    let updates = by_update(candidates);
    let needs = Needs::new(candidates, machine, may_bring);
    for _ in 1..MAX_TURNS {
        let (order, _) = newest(candidates, &mut choices, &updates);
        let along = needs.along(&order);
        if along.hindered.is_empty() {
            let order = needs::enter(&along, candidates, &mut choices, machine, &order);
            return (choices, order);
        }
        // What cannot be had replaces nothing, so what it replaced is looked at again.
        let again = |one: &mut Choice<'a>| match one.standing {
            Standing::Superseded(_) | Standing::TemporarilyUnavailable(Lack::Prerequisite(_)) => {
                one.standing = Standing::Chosen;
            }
            _ => {}
        };
        leave(&along, &needs, &mut choices, &order);
        choices.iter_mut().for_each(again);
    }
    // From here on what is replaced stays so, and each turn leaves something.
    let (mut order, replaced) = newest(candidates, &mut choices, &updates);
    loop {
        let along = needs.along(&order);
        if along.hindered.is_empty() {
            let order = needs::enter(&along, candidates, &mut choices, machine, &order);
            return (choices, order);
        }
        leave(&along, &needs, &mut choices, &order);
        order = in_order(&mut choices, &updates, &replaced);
    }
}

/// Makes what cannot be installed temporarily unavailable.
fn leave<'a>(
    along: &Along<'a>,
    needs: &Needs<'a, '_>,
    choices: &mut [Choice<'a>],
    order: &[usize],
) {
    for index in order {
        let revision = &choices[*index].revision.id;
        if let Some(why) = along.hindered.get(revision) {
            let lack = needs.lack(revision, why);
            choices[*index].standing = Standing::TemporarilyUnavailable(lack);
        }
    }
}

/// Of what could be installed the newest, in an order that respects prerequisites;
/// and what is replaced by what.
fn newest<'a>(
    candidates: &[Candidate<'a>],
    choices: &mut [Choice<'a>],
    updates: &Updates<'a>,
) -> (Vec<usize>, HashMap<usize, usize>) {
    // What could be installed if nothing were replaced.
    let ready = in_order(choices, updates, &HashMap::new());
    let replaced = replaced(candidates, choices, &ready);
    for (old, new) in &replaced {
        if choices[*old].standing == Standing::Chosen {
            choices[*old].standing = Standing::Superseded(&choices[*new].revision.id);
        }
    }
    (in_order(choices, updates, &replaced), replaced)
}

/// What can be told of one revision by itself.
fn first_look<'a>(
    candidate: Candidate<'a>,
    taken: Option<&Taken<'a>>,
    machine: &'a Inventory,
) -> Choice<'a> {
    let revision = candidate.entry.revision;
    let verdict = verdict(revision, machine);
    let standing = if verdict.state != State::Applicable {
        Standing::Settled
    } else if !candidate.is_offered {
        Standing::NotOffered
    } else if !candidate.is_bound {
        Standing::TemporarilyUnavailable(Lack::Content)
    } else if let Some(taken) = taken {
        Standing::Taken(taken.clone())
    } else {
        match held(revision, machine) {
            packages if packages.is_empty() => Standing::Chosen,
            packages => Standing::Held(packages),
        }
    };
    Choice { revision, verdict, standing, parts: Vec::new(), needs: Vec::new() }
}

type Updates<'a> = HashMap<&'a UpdateId, Vec<usize>>;

/// The candidates that some prerequisite names, by update.
fn by_update<'a>(candidates: &[Candidate<'a>]) -> Updates<'a> {
    let revisions = || candidates.iter().map(|one| one.entry.revision);
    let mut updates = Updates::new();
    for reference in revisions().flat_map(|one| &one.facts.prerequisites) {
        updates.entry(&reference.update).or_default();
    }
    if updates.is_empty() {
        return updates;
    }
    for (index, revision) in revisions().enumerate() {
        if let Some(list) = updates.get_mut(&revision.id.update) {
            list.push(index);
        }
    }
    updates
}

/// What among all that is chosen or installed is replaced, and by which.
fn replaced(
    candidates: &[Candidate<'_>],
    choices: &[Choice<'_>],
    ready: &[usize],
) -> HashMap<usize, usize> {
    let updates: HashSet<&UpdateId> =
        ready.iter().map(|index| &choices[*index].revision.id.update).collect();
    // Of what is installed, only what can replace something of these matters.
    let may_replace = |choice: &Choice<'_>| {
        choice.verdict.state == State::Installed
            && (!choice.revision.facts.supersedes.is_empty()
                || updates.contains(&choice.revision.id.update))
    };
    let installed = (0..choices.len()).filter(|index| may_replace(&choices[*index]));
    let together: Vec<usize> = ready.iter().copied().chain(installed).collect();
    let entries: Vec<Entry<'_>> = together.iter().map(|index| candidates[*index].entry).collect();
    let index_of: HashMap<&RevisionId, usize> =
        together.iter().map(|index| (&choices[*index].revision.id, *index)).collect();
    let pairs = superseded(&entries);
    pairs
        .into_iter()
        .filter_map(|(old, new)| Some((*index_of.get(old)?, *index_of.get(new)?)))
        .collect()
}

/// Of what is chosen, what has its prerequisites or gets them before it, in
/// that order; the others are made temporarily unavailable.
fn in_order<'a>(
    choices: &mut [Choice<'a>],
    updates: &Updates<'a>,
    replaced: &HashMap<usize, usize>,
) -> Vec<usize> {
    let mut waiting: Vec<usize> =
        (0..choices.len()).filter(|index| choices[*index].standing == Standing::Chosen).collect();
    let mut order = Vec::with_capacity(waiting.len());
    let mut is_placed = vec![false; choices.len()];
    while !waiting.is_empty() {
        let is_there =
            |index: usize| is_placed[index] || choices[index].verdict.state == State::Installed;
        let is_met = |reference: &Reference| {
            let named = updates.get(&reference.update).map(Vec::as_slice).unwrap_or_default();
            let mut meant =
                named.iter().filter(|index| reference.matches(&choices[**index].revision.id));
            // What contains it will do.
            meant.any(|index| {
                is_there(*index) || replaced.get(index).is_some_and(|by| is_there(*by))
            })
        };
        let lack = |index: usize| {
            choices[index].revision.facts.prerequisites.iter().find(|one| !is_met(one))
        };
        let lacks: Vec<(usize, Option<&'a Reference>)> =
            waiting.iter().map(|index| (*index, lack(*index))).collect();
        let is_stuck = lacks.iter().all(|(_, lack)| lack.is_some());
        waiting.clear();
        for (index, lack) in lacks {
            match lack {
                None => {
                    is_placed[index] = true;
                    order.push(index);
                }
                Some(reference) if is_stuck => {
                    choices[index].standing =
                        Standing::TemporarilyUnavailable(Lack::Prerequisite(reference));
                }
                Some(_) => waiting.push(index),
            }
        }
    }
    order
}
