//! What has to come along with the packages that a machine is to install.
//!
//! The machine's own packages and the wanted ones make a [`Universe`]; what else
//! is open is looked up on a [`Shelf`] only where a clause is not met without it,
//! and only packages that the machine does not have are brought. A revision goes
//! with all its wanted packages or not at all.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::calls::{calls, needed_first};
use super::company::Company;
use super::names::{Clause, Named};
use super::package::Origin;
use super::universe::{Universe, Words};
use crate::debian::Relations;
use crate::debian::relation::Relation;
use crate::revision::{Payload, RevisionId};

const OF_MACHINE: Words = Words {
    owner: "this machine",
    absent: "is neither on this machine nor open to it",
    tells_why: true,
};

/// A package that is on the machine, for its architecture or for all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) relations: &'a Relations,
}

/// A package of a revision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goods<'a> {
    pub(crate) revision: &'a RevisionId,
    pub(crate) payload: &'a Payload,
}

/// What may be brought along: packages that the machine does not have, for its
/// architecture or for all, each with a number of its own.
pub(crate) trait Shelf<'a> {
    /// Those of a name.
    fn named(&self, name: &str) -> Vec<(usize, Goods<'a>)>;

    /// Those that provide a name.
    fn providing(&self, name: &str) -> Vec<(usize, Goods<'a>)>;

    /// Whether a relation is to a package of another architecture that the machine
    /// runs as well. Nothing is known of those, so they are taken as met.
    fn is_foreign(&self, relation: &Relation<'_>) -> bool;
}

/// Why a revision cannot go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hindrance {
    pub(crate) reason: String,
    /// The clause that nothing meets.
    pub(crate) missing: Option<String>,
}

/// A package that goes.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    pub(crate) goods: Goods<'a>,
    /// Places of parts that have to go with it.
    pub(crate) needs: Vec<usize>,
    /// In which call of dpkg, the first being 0.
    pub(crate) call: usize,
}

/// What goes, what is needed first coming first, and what cannot go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Along<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    pub(crate) hindered: BTreeMap<&'a RevisionId, Hindrance>,
}

/// What comes of installing `wanted` on a machine of `architecture`.
pub(crate) fn along<'a>(
    standing: impl Iterator<Item = Standing<'a>>,
    wanted: &[Goods<'a>],
    shelf: &impl Shelf<'a>,
    architecture: &'a str,
) -> Along<'a> {
    let mut universe = Universe::empty(architecture, OF_MACHINE);
    for one in standing {
        universe.stand(one.name, one.version, one.relations, true);
    }
    let first = universe.packages.len();
    for one in wanted {
        universe.siblings.entry(one.revision).or_default().push(universe.packages.len());
        universe.bring(*one, shelf);
    }
    let wanted = first..first + wanted.len();
    for index in wanted.clone() {
        // What cannot be read takes its revision with it.
        if let Some((reason, missing)) = universe.packages[index].fault.take() {
            universe.leave_out(index, reason, missing);
        }
    }
    universe.reach(shelf);
    let company = loop {
        universe.settle();
        match universe.gather(wanted.clone()) {
            Ok(company) => break company,
            Err((index, reason)) => universe.leave_out(index, reason, None),
        }
    };
    let parts = universe.parts(&company);
    let mut hindered = BTreeMap::new();
    for index in wanted {
        let package = &universe.packages[index];
        if let (Origin::Offered(revision, _), Some((reason, missing))) =
            (package.origin, &package.fault)
        {
            let (reason, missing) = (reason.clone(), missing.clone());
            hindered.entry(revision).or_insert(Hindrance { reason, missing });
        }
    }
    Along { parts, hindered }
}

impl<'a> Universe<'a> {
    /// Adds a package without what it says of other architectures.
    fn bring(&mut self, goods: Goods<'a>, shelf: &impl Shelf<'a>) {
        self.offer(goods.revision, goods.payload, |clause| {
            !clause.iter().any(|one| shelf.is_foreign(one))
        });
    }

    /// Adds what could be brought for the clauses of offered packages that nothing
    /// meets yet, and for theirs.
    fn reach(&mut self, shelf: &impl Shelf<'a>) {
        let mut seen = HashSet::new();
        let mut index = 0;
        while index < self.packages.len() {
            if self.is_offered(index) && self.packages[index].fault.is_none() {
                let clauses = std::mem::take(&mut self.packages[index].depends);
                for clause in &clauses {
                    self.reach_for(clause, &mut seen, shelf);
                }
                self.packages[index].depends = clauses;
            }
            index += 1;
        }
    }

    fn reach_for(
        &mut self,
        clause: &Clause<'a>,
        seen: &mut HashSet<usize>,
        shelf: &impl Shelf<'a>,
    ) {
        for relation in clause {
            if !self.lacks(clause) {
                return;
            }
            self.add_all(shelf.named(relation.name), seen, shelf);
        }
        for relation in clause {
            if !self.lacks(clause) {
                return;
            }
            self.add_all(shelf.providing(relation.name), seen, shelf);
        }
    }

    fn lacks(&self, clause: &Clause<'a>) -> bool {
        !self.is_satisfied(clause, |one| self.counts(one))
    }

    fn add_all(
        &mut self,
        found: Vec<(usize, Goods<'a>)>,
        seen: &mut HashSet<usize>,
        shelf: &impl Shelf<'a>,
    ) {
        for (number, goods) in found {
            if seen.insert(number) {
                self.bring(goods, shelf);
            }
        }
    }

    /// The wanted packages that count, with what comes along; else the one with
    /// which two came together that exclude each other, and why it stays.
    fn gather(&self, wanted: std::ops::Range<usize>) -> Result<Company, (usize, String)> {
        let enemies = self.quarrels();
        let options: Vec<_> = (0..self.packages.len()).map(|one| self.options(one)).collect();
        let mut company = Company::among(self.packages.len());
        company.begin();
        // Whatever is wanted is there before anything is looked for.
        for index in wanted.clone().filter(|one| self.counts(*one)) {
            company.add(index);
        }
        for index in wanted.filter(|one| self.counts(*one)) {
            if let Some((enemy, one)) = company.gather(index, &options, &enemies) {
                let name = |one: usize| self.packages[one].name;
                let reason = format!("needs {}, which excludes {}", name(one), name(enemy));
                return Err((index, reason));
            }
        }
        Ok(company)
    }

    /// What of the company needs what, and in which order it goes.
    fn parts(&self, company: &Company) -> Vec<Part<'a>> {
        let members: Vec<usize> =
            (0..self.packages.len()).filter(|one| company.has(*one)).collect();
        let place: HashMap<usize, usize> =
            members.iter().enumerate().map(|(place, index)| (*index, place)).collect();
        let mut needs: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
        for (own, index) in members.iter().enumerate() {
            for (clause, target) in self.needs(*index, &place) {
                needs[own].push(target);
                if clause < self.packages[*index].before {
                    before[own].push(target);
                }
            }
            // What it excludes as it is has to be replaced before.
            needs[own].extend(self.replaced(*index).filter_map(|one| place.get(&one)));
            for one in self.excluded_before(*index).filter_map(|one| place.get(&one)) {
                needs[*one].push(own);
            }
        }
        for (own, list) in needs.iter_mut().enumerate() {
            list.sort_unstable();
            list.dedup();
            list.retain(|one| *one != own);
        }
        let calls = calls(&needs, &before);
        let order = needed_first(&needs);
        let mut new_place = vec![0; members.len()];
        order.iter().enumerate().for_each(|(new, old)| new_place[*old] = new);
        let part = |old: &usize| {
            let Origin::Offered(revision, payload) = self.packages[members[*old]].origin else {
                return None;
            };
            let needs = needs[*old].iter().map(|one| new_place[*one]).collect();
            Some(Part { goods: Goods { revision, payload }, needs, call: calls[*old] })
        };
        // All members are offered, so no place is left out.
        order.iter().filter_map(part).collect()
    }

    /// The clauses that the machine as it is does not meet, by their place, and the
    /// member that does.
    fn needs(
        &self,
        index: usize,
        place: &HashMap<usize, usize>,
    ) -> impl Iterator<Item = (usize, usize)> {
        let clauses = self.packages[index].depends.iter().enumerate();
        clauses.filter_map(|(number, clause)| {
            let is_standing = |one: usize| !self.is_offered(one);
            if self.is_satisfied(clause, is_standing) {
                return None;
            }
            let is_member = |one: usize| place.contains_key(&one);
            let mut found = clause.iter().flat_map(|one| self.meant(one, is_member));
            found.find_map(|one| Some((number, *place.get(&one)?)))
        })
    }

    /// What replaces packages of the machine that one excludes.
    fn replaced(&self, index: usize) -> impl Iterator<Item = usize> {
        let excluded = move |relation: &Named<'a>| {
            let is_old = |one: usize| !self.is_offered(one) && !self.counts(one);
            self.meant(&relation.plain(), is_old).collect::<Vec<_>>()
        };
        let old = self.packages[index].negatives.iter().flat_map(excluded);
        old.filter_map(|one| self.top(self.packages[one].id))
    }

    /// What is excluded by the package of the machine that one replaces.
    fn excluded_before(&self, index: usize) -> impl Iterator<Item = usize> {
        let old = self.versions(index).filter(|one| !self.is_offered(*one));
        let negatives = old.flat_map(|one| &self.packages[one].negatives);
        negatives.flat_map(move |relation| {
            let is_other = |one: usize| self.counts(one) && self.is_offered(one);
            self.meant(&relation.plain(), is_other).collect::<Vec<_>>()
        })
    }
}
