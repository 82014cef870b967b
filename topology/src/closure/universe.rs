//! The packages that machines of one architecture have and are offered.
//!
//! A package *counts* while it was not left out and no other of its name has a
//! higher version. Leaving one out makes the next version count, so what looked
//! at either is looked at again.

use std::collections::HashMap;

use super::ground::Ground;
use super::names::{Clause, Named, Names};
use super::package::{Origin, Package, order};
use crate::debian::Relations;
use crate::debian::relation::clause_text;
use crate::debian::version;
use crate::revision::{Payload, Revision, RevisionId};

/// How the machines are spoken of.
#[derive(Clone, Copy)]
pub(super) struct Words {
    /// Whose packages they are.
    pub(super) owner: &'static str,
    /// What is wrong with a package that is nowhere.
    pub(super) absent: &'static str,
    /// Whether what cannot be installed for another one is told with that.
    pub(super) tells_why: bool,
}

const OF_GROUP: Words =
    Words { owner: "the machines", absent: "is not approved", tells_why: false };

/// The longest reason that is told within another one, in bytes.
const MAX_WHY: usize = 300;

/// A package that a view must not offer.
pub(super) struct LeftOut<'a> {
    pub(super) revision: &'a RevisionId,
    pub(super) payload: &'a Payload,
    pub(super) reason: String,
    /// The clause that nothing satisfies.
    pub(super) missing: Option<String>,
}

/// See the module.
pub(super) struct Universe<'a> {
    pub(super) architecture: &'a str,
    pub(super) packages: Vec<Package<'a>>,
    names: Names<'a>,
    waiting: Vec<usize>,
    /// What goes with the whole revision, by revision.
    pub(super) siblings: HashMap<&'a RevisionId, Vec<usize>>,
    pub(super) words: Words,
}

impl<'a> Universe<'a> {
    pub(super) fn new(open: &[&'a Revision], ground: &'a Ground, architecture: &'a str) -> Self {
        let mut universe = Self::empty(architecture, OF_GROUP);
        for one in ground.on(architecture) {
            universe.stand(&one.name, &one.version, &one.relations, ground.is_installed());
        }
        for revision in open {
            let payloads = revision.payloads.iter().filter(|payload| !payload.control.is_empty());
            for one in
                payloads.filter(|one| one.architecture == architecture || one.architecture == "all")
            {
                universe.offer(&revision.id, one, |_| true);
            }
        }
        universe
    }

    /// Without packages.
    pub(super) fn empty(architecture: &'a str, words: Words) -> Self {
        Self {
            architecture,
            packages: Vec::new(),
            names: Names::default(),
            waiting: Vec::new(),
            siblings: HashMap::new(),
            words,
        }
    }

    /// Adds a package that machines have, or can get elsewhere.
    pub(super) fn stand(
        &mut self,
        name: &'a str,
        version: &'a str,
        relations: &'a Relations,
        is_installed: bool,
    ) {
        let names = &mut self.names;
        let package = Package::standing(name, version, relations, self.architecture, names);
        names.of_mut(package.id).is_installed |= is_installed;
        self.add(package);
    }

    /// Adds a package of a revision, with those of the clauses of which it is judged by.
    pub(super) fn offer(
        &mut self,
        revision: &'a RevisionId,
        payload: &'a Payload,
        is_judged: impl Fn(&Clause<'a>) -> bool,
    ) {
        let mut package = Package::offered(revision, payload, self.architecture, &mut self.names);
        let rest = package.depends.split_off(package.before);
        package.depends.retain(&is_judged);
        package.before = package.depends.len();
        package.depends.extend(rest.into_iter().filter(is_judged));
        self.add(package);
    }

    /// Adds a package, and looks at what names it again.
    fn add(&mut self, package: Package<'a>) {
        let (index, id) = (self.packages.len(), package.id);
        for (name, version) in &package.provides {
            self.names.of_mut(*name).providers.push((index, *version));
        }
        for one in package.depends.iter().flatten() {
            let dependents = &mut self.names.of_mut(one.id).dependents;
            // Those of one package come one after the other.
            if dependents.last() != Some(&index) {
                dependents.push(index);
            }
        }
        self.packages.push(package);
        let (packages, name) = (&self.packages, self.names.of_mut(id));
        let place =
            name.all.partition_point(|one| order(&packages[*one], &packages[index]).is_le());
        name.all.insert(place, index);
        name.top = top(&name.all, packages);
        self.waiting.push(index);
    }

    /// Leaves out until everything left can be installed.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(index) = self.waiting.pop() {
                self.check_needs(index);
            }
            if !self.check_machines() && !self.check_companies() {
                return;
            }
        }
    }

    /// What was left out.
    pub(super) fn left_out(self) -> impl Iterator<Item = LeftOut<'a>> {
        self.packages.into_iter().filter_map(|package| match (package.origin, package.fault) {
            (Origin::Offered(revision, payload), Some((reason, missing))) => {
                Some(LeftOut { revision, payload, reason, missing })
            }
            _ => None,
        })
    }

    pub(super) fn counts(&self, index: usize) -> bool {
        self.top(self.packages[index].id) == Some(index)
    }

    /// The package of a name that counts.
    pub(super) fn top(&self, name: usize) -> Option<usize> {
        self.names.of(name).top
    }

    /// The packages of the name of one, the highest version last.
    pub(super) fn versions(&self, index: usize) -> impl Iterator<Item = usize> {
        self.names.of(self.packages[index].id).all.iter().copied()
    }

    pub(super) fn is_offered(&self, index: usize) -> bool {
        matches!(self.packages[index].origin, Origin::Offered(..))
    }

    /// Whether machines have a package of this name.
    pub(super) fn is_on_machines(&self, index: usize) -> bool {
        self.names.of(self.packages[index].id).is_installed
    }

    /// The packages that a relation means, among those that `take` lets pass.
    pub(super) fn meant<'s>(
        &'s self,
        relation: &Named<'a>,
        take: impl Fn(usize) -> bool + Copy + 's,
    ) -> impl Iterator<Item = usize> + 's {
        let relation = *relation;
        let fits = move |index: usize| match relation.qualifier {
            None | Some("native") => true,
            Some("any") => self.packages[index].is_allowed,
            Some(other) => other == self.architecture,
        };
        let name = self.names.of(relation.id);
        let named = name.all.iter().copied();
        let named = named.filter(move |&index| relation.takes(self.packages[index].version));
        let provided = name.providers.iter();
        let provided = provided
            .filter(move |(_, version)| relation.takes_provided(*version))
            .map(|(index, _)| *index);
        named.chain(provided).filter(move |&index| take(index) && fits(index))
    }

    pub(super) fn is_satisfied(
        &self,
        clause: &Clause<'a>,
        take: impl Fn(usize) -> bool + Copy,
    ) -> bool {
        clause.iter().any(|relation| self.meant(relation, take).next().is_some())
    }

    pub(super) fn leave_out(&mut self, index: usize, reason: String, missing: Option<String>) {
        if self.packages[index].fault.is_some() || !self.is_offered(index) {
            return;
        }
        if let Origin::Offered(revision, _) = self.packages[index].origin
            && let Some(siblings) = self.siblings.remove(revision)
        {
            // Once: the revision has no siblings any more.
            for one in siblings.into_iter().filter(|one| *one != index) {
                self.leave_out(one, reason.clone(), missing.clone());
            }
        }
        self.packages[index].fault = Some((reason, missing));
        let name = self.names.of_mut(self.packages[index].id);
        name.top = top(&name.all, &self.packages);
        let next = name.top;
        for one in [Some(index), next].into_iter().flatten() {
            let package = &self.packages[one];
            for id in package.provides.iter().map(|(id, _)| *id).chain([package.id]) {
                self.waiting.extend(&self.names.of(id).dependents);
            }
        }
        self.waiting.extend(next);
    }

    /// Looks whether everything that a package needs counts.
    fn check_needs(&mut self, index: usize) {
        if !self.counts(index) {
            return;
        }
        let counts = |one| self.counts(one);
        let package = &self.packages[index];
        let Some(clause) = package.depends.iter().find(|clause| !self.is_satisfied(clause, counts))
        else {
            return;
        };
        if self.is_offered(index) {
            let (reason, missing) = self.explain(clause);
            self.leave_out(index, reason, missing);
            return;
        }
        // An installed package: some update took away what it needs, unless it
        // never had it.
        let is_standing = |one| !self.is_offered(one);
        let culprit =
            package.depends.iter().filter(|clause| !self.is_satisfied(clause, counts)).find_map(
                |clause| {
                    let lost = clause.iter().flat_map(|one| self.meant(one, is_standing));
                    let tops = lost.filter_map(|one| self.top(self.packages[one].id));
                    let culprit = tops.filter(|&one| self.is_offered(one)).min()?;
                    Some((culprit, clause_text(clause)))
                },
            );
        if let Some((culprit, clause)) = culprit {
            let reason = format!(
                "would break {} {} of {}, which needs {clause}",
                package.name, package.version, self.words.owner
            );
            self.leave_out(culprit, reason, None);
            self.waiting.push(index);
        }
    }

    /// Why a clause is not satisfied, and the clause where approving something
    /// could help.
    fn explain(&self, clause: &Clause<'a>) -> (String, Option<String>) {
        let text = clause_text(clause);
        let is_left_out = |one: usize| self.packages[one].fault.is_some();
        let mut left_out = clause.iter().flat_map(|one| self.meant(one, is_left_out));
        if let Some(one) = left_out.next() {
            let why = self.packages[one].fault.as_ref().map_or("", |(reason, _)| reason.as_str());
            // Of a view that is told beside it; of a chain not all fits in a sentence.
            let why = match self.words.tells_why && why.len() < MAX_WHY {
                true => format!(": that {why}"),
                false => String::new(),
            };
            return (format!("needs {text}, which cannot be installed either{why}"), None);
        }
        let too_high = clause.iter().find_map(|relation| {
            let top = &self.packages[self.top(relation.id)?];
            let (operator, named) = relation.version?;
            let is_higher = version::compare(top.version, named).is_ge();
            let is_bound = !operator.allows(std::cmp::Ordering::Greater);
            (is_higher && is_bound).then(|| format!("{} {}", top.name, top.version))
        });
        match too_high {
            Some(present) => (format!("needs {text}, but {present} is there"), None),
            None => (format!("needs {text}, which {}", self.words.absent), Some(text)),
        }
    }

    /// The other packages that count and that a package breaks or conflicts
    /// with.
    pub(super) fn enemies(&self, index: usize) -> Vec<usize> {
        let package = &self.packages[index];
        let others = |one: usize| self.counts(one) && self.packages[one].id != package.id;
        let found = package.negatives.iter().flat_map(|relation| {
            // A relation to another architecture's package concerns nothing here.
            let is_here = relation
                .qualifier
                .is_none_or(|one| matches!(one, "any" | "native") || one == self.architecture);
            if is_here {
                self.meant(&relation.plain(), others).collect::<Vec<_>>()
            } else {
                Vec::new()
            }
        });
        found.collect()
    }

    /// Leaves out what cannot be beside the packages of the machines, as they
    /// would be after an upgrade. Whether anything was left out.
    fn check_machines(&mut self) -> bool {
        let (mut has_changed, owner) = (false, self.words.owner);
        for index in 0..self.packages.len() {
            if !self.counts(index) || self.packages[index].negatives.is_empty() {
                continue;
            }
            for enemy in self.enemies(index) {
                if !self.counts(index) || !self.counts(enemy) {
                    continue;
                }
                let (here, there) = (self.is_on_machines(index), self.is_on_machines(enemy));
                let victim = match (here, there) {
                    (false, false) => continue,
                    (true, false) => enemy,
                    (false, true) => index,
                    (true, true) if self.is_offered(index) => index,
                    (true, true) => enemy,
                };
                if !self.is_offered(victim) {
                    continue;
                }
                let other = &self.packages[if victim == index { enemy } else { index }];
                let reason =
                    format!("cannot be beside {} {} of {owner}", other.name, other.version);
                self.leave_out(victim, reason, None);
                has_changed = true;
            }
        }
        has_changed
    }
}

fn top(all: &[usize], packages: &[Package<'_>]) -> Option<usize> {
    all.iter().rev().copied().find(|&one| packages[one].fault.is_none())
}
