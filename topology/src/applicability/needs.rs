//! What has to come along with Debian packages that a machine is to install:
//! dependencies that are not on it yet, out of what is open to it.
//!
//! Only what `Pre-Depends` and `Depends` ask for is brought, never what a rollout
//! removes; a revision for which something lacks, or which cannot be beside what the
//! machine has, is left whole. Packages of architectures that the machine runs besides
//! its own are not judged: nothing is brought for them, and dpkg has the last word.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::choose::{Candidate, Choice, Lack, Standing};
use super::inventory::{Format, Inventory};
use super::packages::{ALL, payloads_for};
use super::{State, Verdict, narrowed};
use crate::closure::{self, Along, Goods, Shelf};
use crate::debian::field;
use crate::debian::relation::{self, Relation};
use crate::revision::{Payload, RevisionId};

/// A file that is to be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// The file.
    pub payload: &'a Payload,
    /// In which of the round's calls of dpkg, the first being 0: what has to be
    /// configured before another package is unpacked goes in an earlier one.
    pub call: usize,
}

/// Looks at what lacks for `chosen` Debian packages.
pub(super) struct Needs<'a, 'c> {
    pub(super) candidates: &'c [Candidate<'a>],
    pub(super) machine: &'a Inventory,
    /// Whether a file may be brought along: its content is in the mesh, and no
    /// rollout removes it.
    pub(super) may_bring: &'c dyn Fn(&Payload) -> bool,
    shelf: OnceCell<Vec<(usize, &'a Payload)>>,
    by_name: OnceCell<Chains<'a>>,
    by_provided: OnceCell<Chains<'a>>,
}

/// Numbers of the shelf by text, without a list of its own for each of many texts.
#[derive(Default)]
struct Chains<'a> {
    last: HashMap<&'a str, usize>,
    /// A number, and the place of the one before it.
    links: Vec<(usize, Option<usize>)>,
}

impl<'a> Chains<'a> {
    fn of(pairs: impl Iterator<Item = (&'a str, usize)>, capacity: usize) -> Self {
        let mut last = HashMap::with_capacity(capacity);
        let mut links = Vec::with_capacity(capacity);
        for (text, number) in pairs {
            let before = last.insert(text, links.len());
            links.push((number, before));
        }
        Self { last, links }
    }

    /// The numbers of a text, the last one first.
    fn get(&self, text: &str) -> impl Iterator<Item = usize> {
        let first = self.last.get(text).map(|place| self.links[*place]);
        let next = |(_, before): &(usize, Option<usize>)| before.map(|place| self.links[place]);
        std::iter::successors(first, next).map(|(number, _)| number)
    }
}

impl<'a, 'c> Needs<'a, 'c> {
    pub(super) fn new(
        candidates: &'c [Candidate<'a>],
        machine: &'a Inventory,
        may_bring: &'c dyn Fn(&Payload) -> bool,
    ) -> Self {
        let (shelf, by_name, by_provided) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { candidates, machine, may_bring, shelf, by_name, by_provided }
    }

    /// The architecture that the machine is built for.
    fn native(&self) -> &'a str {
        self.machine.architectures.first().map_or("", String::as_str)
    }

    fn is_native(&self, architecture: &str) -> bool {
        architecture == ALL || architecture == self.native()
    }

    /// What comes of installing the packages of those that are chosen.
    pub(super) fn along(&self, chosen: &[usize]) -> Along<'a> {
        let wanted: Vec<Goods<'a>> = chosen
            .iter()
            .map(|index| self.candidates[*index].entry.revision)
            .filter(|revision| revision.has_packages())
            .flat_map(|revision| {
                let payloads = payloads_for(revision, self.machine).into_iter();
                payloads.map(|payload| Goods { revision: &revision.id, payload })
            })
            .filter(|one| self.is_native(&one.payload.architecture))
            .collect();
        if wanted.is_empty() {
            return Along::default();
        }
        let installed = self.machine.packages.iter().flat_map(|(name, all)| {
            // What is broken meets nothing.
            let of_dpkg = |one: &&super::inventory::Package| {
                one.format == Format::Deb
                    && one.fault.is_empty()
                    && self.is_native(&one.architecture)
            };
            all.iter().filter(of_dpkg).map(move |one| closure::Standing {
                name,
                version: &one.version,
                relations: &one.relations,
            })
        });
        closure::along(installed, &wanted, self, self.native())
    }

    /// Why a revision is left, for people.
    pub(super) fn lack(&self, revision: &RevisionId, hindrance: &closure::Hindrance) -> Lack<'a> {
        let reason = &hindrance.reason;
        let it = if reason.starts_with("its ") { "" } else { "it " };
        let missing = hindrance.missing.as_deref();
        let other = missing.and_then(|clause| self.keeper(clause, revision));
        let other = other.map(|id| format!(" ({id} has it)")).unwrap_or_default();
        Lack::Needs(format!("{it}{reason}{other}"))
    }

    /// A revision that has what a clause asks for, open or not.
    fn keeper(&self, clause: &str, but: &RevisionId) -> Option<&'a RevisionId> {
        let clauses = relation::parse(clause, self.native()).ok()?;
        clauses.iter().flatten().find_map(|one| {
            let named = self.by_name().get(one.name).map(|number| self.shelf()[number]);
            // The first of the candidates, which comes last.
            let fits = |payload: &Payload| {
                self.is_native(&payload.architecture) && one.takes(&payload.version)
            };
            let found = named.filter(|(_, payload)| fits(payload)).last()?;
            let id = &self.candidates[found.0].entry.revision.id;
            (id != but).then_some(id)
        })
    }

    /// All packages of all candidates, for whatever architecture, with the place of
    /// their candidate.
    fn shelf(&self) -> &[(usize, &'a Payload)] {
        self.shelf.get_or_init(|| {
            let revisions = self.candidates.iter().map(|one| one.entry.revision).enumerate();
            let payloads = revisions
                .flat_map(|(index, one)| one.payloads.iter().map(move |payload| (index, payload)));
            payloads.filter(|(_, payload)| !payload.control.is_empty()).collect()
        })
    }

    fn by_name(&self) -> &Chains<'a> {
        self.by_name.get_or_init(|| {
            let names = self.shelf().iter().enumerate();
            let names = names.map(|(number, (_, one))| (one.package.as_str(), number));
            Chains::of(names, self.shelf().len())
        })
    }

    fn by_provided(&self) -> &Chains<'a> {
        self.by_provided.get_or_init(|| {
            let provided = |(number, (_, one)): (usize, &(usize, &'a Payload))| {
                let text = field(&one.control, "Provides").unwrap_or_default();
                let read = relation::parse(text, self.native()).unwrap_or_default();
                read.into_iter().flatten().map(move |one| (one.name, number))
            };
            Chains::of(self.shelf().iter().enumerate().flat_map(provided), 0)
        })
    }

    /// Whether the machine may have the package brought.
    fn is_open(&self, index: usize, payload: &Payload) -> bool {
        let candidate = &self.candidates[index];
        let revision = candidate.entry.revision;
        let is_plain =
            revision.facts.detection.is_none() && revision.facts.prerequisites.is_empty();
        candidate.is_offered
            && self.is_native(&payload.architecture)
            && is_plain
            && self.machine.instances(Format::Deb, &payload.package).next().is_none()
            && narrowed(revision, self.machine).is_none()
            && (self.may_bring)(payload)
    }

    fn open(&self, numbers: impl Iterator<Item = usize>) -> Vec<(usize, Goods<'a>)> {
        let numbers = numbers.map(|number| (number, self.shelf()[number]));
        let open = numbers.filter(|(_, (index, payload))| self.is_open(*index, payload));
        open.map(|(number, (index, payload))| {
            (number, Goods { revision: &self.candidates[index].entry.revision.id, payload })
        })
        .collect()
    }
}

impl<'a> Shelf<'a> for Needs<'a, '_> {
    fn named(&self, name: &str) -> Vec<(usize, Goods<'a>)> {
        self.open(self.by_name().get(name))
    }

    fn providing(&self, name: &str) -> Vec<(usize, Goods<'a>)> {
        self.open(self.by_provided().get(name))
    }

    fn is_foreign(&self, relation: &Relation<'_>) -> bool {
        let is_own = |one: &str| matches!(one, "any" | "native") || one == self.native();
        let is_another = || {
            let mut instances = self.machine.instances(Format::Deb, relation.name);
            instances.any(|one| !self.is_native(&one.architecture))
        };
        relation.qualifier.is_some_and(|one| !is_own(one))
            || (self.machine.architectures.len() > 1 && is_another())
    }
}

/// Writes down what goes with what: the files of all that is chosen, and what is
/// brought along as chosen too. `order` is what was chosen; what comes back has what is
/// needed first.
pub(super) fn enter<'a>(
    along: &Along<'a>,
    candidates: &[Candidate<'a>],
    choices: &mut [Choice<'a>],
    machine: &'a Inventory,
    order: &[usize],
) -> Vec<usize> {
    let id_of = |index: usize| &candidates[index].entry.revision.id;
    let mut index_of: HashMap<&RevisionId, usize> =
        order.iter().map(|index| (id_of(*index), *index)).collect();
    for id in along.parts.iter().map(|part| part.goods.revision) {
        if !index_of.contains_key(id)
            && let Some(index) = (0..candidates.len()).find(|one| id_of(*one) == id)
        {
            index_of.insert(id, index);
        }
    }
    let place = |part: usize| index_of.get(along.parts[part].goods.revision).copied();
    let mut order = order.to_vec();
    for (number, part) in along.parts.iter().enumerate() {
        let Some(index) = place(number) else { continue };
        let choice = &mut choices[index];
        choice.parts.push(Part { payload: part.goods.payload, call: part.call });
        choice.needs.extend(part.needs.iter().filter_map(|one| place(*one)));
        if choice.standing != Standing::Chosen {
            choice.standing = Standing::Chosen;
            choice.verdict = Verdict::new(State::Applicable, needed_by(along, number));
            order.push(index);
        }
    }
    for index in &order {
        let choice = &mut choices[*index];
        choice.needs.sort_unstable();
        choice.needs.dedup();
        choice.needs.retain(|one| one != index);
        add_rest(choice, machine);
    }
    in_order(choices, &order)
}

/// Who brings a part along.
fn needed_by(along: &Along<'_>, number: usize) -> String {
    let mut parts = along.parts.iter().filter(|one| one.needs.contains(&number));
    let payload = along.parts[number].goods.payload;
    match parts.find(|one| one.goods.revision != along.parts[number].goods.revision) {
        Some(part) => {
            let by = part.goods.payload;
            format!("{} {} needs its package {}", by.package, by.version, payload.package)
        }
        None => format!("its package {} is needed", payload.package),
    }
}

/// Adds the files that were not judged: those of no package, and packages of another
/// architecture, which go with the package of their name.
fn add_rest<'a>(choice: &mut Choice<'a>, machine: &'a Inventory) {
    let judged: Vec<Part<'a>> = choice.parts.clone();
    let last = judged.iter().map(|one| one.call).max().unwrap_or_default();
    let native = machine.architectures.first();
    for payload in payloads_for(choice.revision, machine) {
        let is_judged = !payload.control.is_empty()
            && (payload.architecture == ALL || Some(&payload.architecture) == native);
        if !is_judged {
            let same = judged.iter().find(|one| one.payload.package == payload.package);
            let call = same.map_or(last, |one| one.call);
            choice.parts.push(Part { payload, call });
        }
    }
}

/// What is chosen, what is needed first coming first.
fn in_order(choices: &[Choice<'_>], order: &[usize]) -> Vec<usize> {
    let place: HashMap<usize, usize> =
        order.iter().enumerate().map(|(place, index)| (*index, place)).collect();
    let needs: Vec<Vec<usize>> = order
        .iter()
        .map(|index| {
            choices[*index].needs.iter().filter_map(|one| place.get(one)).copied().collect()
        })
        .collect();
    closure::needed_first(&needs).into_iter().map(|place| order[place]).collect()
}

#[cfg(test)]
mod tests;
