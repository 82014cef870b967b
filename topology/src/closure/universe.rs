//! The packages that machines of one architecture have and are offered.
//!
//! A package *counts* while it was not left out and no other of its name has a
//! higher version. Leaving one out makes the next version count, so what looked
//! at either is looked at again.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::ground::{Ground, Standing};
use crate::debian::relation::{self, Clause, Relation, clause_text};
use crate::debian::{field, version};
use crate::revision::{Payload, Revision, RevisionId};

/// The most packages considered for one clause when a package's company is
/// gathered.
const MAX_OPTIONS: usize = 16;

/// A package that a view must not offer.
pub(super) struct LeftOut<'a> {
    pub(super) revision: &'a RevisionId,
    pub(super) payload: &'a Payload,
    pub(super) reason: String,
    /// The clause that nothing satisfies.
    pub(super) missing: Option<String>,
}

#[derive(Clone, Copy)]
enum Origin<'a> {
    /// In the baseline.
    Standing,
    /// In the view.
    Offered(&'a RevisionId, &'a Payload),
}

struct Package<'a> {
    name: &'a str,
    version: &'a str,
    is_allowed: bool,
    depends: Vec<Clause<'a>>,
    negatives: Vec<Relation<'a>>,
    provides: Vec<(&'a str, Option<&'a str>)>,
    origin: Origin<'a>,
    /// Why it is left out.
    fault: Option<(String, Option<String>)>,
}

#[derive(Default)]
struct Versions {
    /// The highest version last.
    all: Vec<usize>,
    top: Option<usize>,
    is_installed: bool,
}

/// See the module.
pub(super) struct Universe<'a> {
    architecture: &'a str,
    packages: Vec<Package<'a>>,
    names: HashMap<&'a str, Versions>,
    providers: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
    /// Who names a package in a clause.
    dependents: HashMap<&'a str, Vec<usize>>,
    waiting: Vec<usize>,
}

impl<'a> Universe<'a> {
    pub(super) fn new(open: &[&'a Revision], ground: &'a Ground, architecture: &'a str) -> Self {
        let standing = ground.on(architecture).map(|one| of_standing(one, architecture));
        let offered = open.iter().flat_map(|revision| {
            let payloads = revision.payloads.iter().filter(|payload| !payload.control.is_empty());
            payloads
                .filter(|one| one.architecture == architecture || one.architecture == "all")
                .map(|payload| of_offered(&revision.id, payload, architecture))
        });
        let packages: Vec<Package<'a>> = standing.chain(offered).collect();
        let mut universe = Self {
            architecture,
            names: HashMap::new(),
            providers: HashMap::new(),
            dependents: HashMap::new(),
            waiting: (0..packages.len()).collect(),
            packages,
        };
        universe.index(ground.is_installed());
        universe
    }

    fn index(&mut self, is_installed: bool) {
        for (index, package) in self.packages.iter().enumerate() {
            let versions = self.names.entry(package.name).or_default();
            versions.all.push(index);
            versions.is_installed |= is_installed && matches!(package.origin, Origin::Standing);
            for (name, version) in &package.provides {
                self.providers.entry(name).or_default().push((index, *version));
            }
            let named = package.depends.iter().flatten().map(|relation| relation.name);
            for name in named.collect::<HashSet<_>>() {
                self.dependents.entry(name).or_default().push(index);
            }
        }
        for versions in self.names.values_mut() {
            versions.all.sort_by(|a, b| order(&self.packages[*a], &self.packages[*b]));
            versions.top = top(&versions.all, &self.packages);
        }
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

    fn counts(&self, index: usize) -> bool {
        self.top(self.packages[index].name) == Some(index)
    }

    fn top(&self, name: &str) -> Option<usize> {
        self.names.get(name)?.top
    }

    fn is_offered(&self, index: usize) -> bool {
        matches!(self.packages[index].origin, Origin::Offered(..))
    }

    /// Whether machines have a package of this name.
    fn is_on_machines(&self, index: usize) -> bool {
        self.names.get(self.packages[index].name).is_some_and(|one| one.is_installed)
    }

    /// The packages that a relation means, among those that `take` lets pass.
    fn meant<'s>(
        &'s self,
        relation: &Relation<'a>,
        take: impl Fn(usize) -> bool + Copy + 's,
    ) -> impl Iterator<Item = usize> + 's {
        let relation = *relation;
        let fits = move |index: usize| match relation.qualifier {
            None | Some("native") => true,
            Some("any") => self.packages[index].is_allowed,
            Some(other) => other == self.architecture,
        };
        let named = self.names.get(relation.name).into_iter().flat_map(|one| &one.all).copied();
        let named = named.filter(move |&index| relation.takes(self.packages[index].version));
        let provided = self.providers.get(relation.name).into_iter().flatten();
        let provided = provided
            .filter(move |(_, version)| relation.takes_provided(*version))
            .map(|(index, _)| *index);
        named.chain(provided).filter(move |&index| take(index) && fits(index))
    }

    fn is_satisfied(&self, clause: &Clause<'a>, take: impl Fn(usize) -> bool + Copy) -> bool {
        clause.iter().any(|relation| self.meant(relation, take).next().is_some())
    }

    fn leave_out(&mut self, index: usize, reason: String, missing: Option<String>) {
        if self.packages[index].fault.is_some() || !self.is_offered(index) {
            return;
        }
        self.packages[index].fault = Some((reason, missing));
        let name = self.packages[index].name;
        let packages = &self.packages;
        let next = self.names.get_mut(name).and_then(|versions| {
            versions.top = top(&versions.all, packages);
            versions.top
        });
        let concerned = [Some(index), next].into_iter().flatten();
        let provided =
            concerned.flat_map(|one| packages[one].provides.iter().map(|(name, _)| *name));
        for name in provided.chain([name]) {
            self.waiting.extend(self.dependents.get(name).into_iter().flatten());
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
                    let tops = lost.filter_map(|one| self.top(self.packages[one].name));
                    let culprit = tops.filter(|&one| self.is_offered(one)).min()?;
                    Some((culprit, clause_text(clause)))
                },
            );
        if let Some((culprit, clause)) = culprit {
            let reason = format!(
                "would break {} {} of the machines, which needs {clause}",
                package.name, package.version
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
        if self.is_satisfied(clause, is_left_out) {
            return (format!("needs {text}, which cannot be installed either"), None);
        }
        let too_high = clause.iter().find_map(|relation| {
            let top = &self.packages[self.top(relation.name)?];
            let (operator, named) = relation.version?;
            let is_higher = version::compare(top.version, named).is_ge();
            let is_bound = !operator.allows(std::cmp::Ordering::Greater);
            (is_higher && is_bound).then(|| format!("{} {}", top.name, top.version))
        });
        match too_high {
            Some(present) => (format!("needs {text}, but {present} is there"), None),
            None => (format!("needs {text}, which is not approved"), Some(text)),
        }
    }

    /// The other packages that count and that a package breaks or conflicts
    /// with.
    fn enemies(&self, index: usize) -> Vec<usize> {
        let package = &self.packages[index];
        let others = |one: usize| self.counts(one) && self.packages[one].name != package.name;
        let found = package.negatives.iter().flat_map(|relation| {
            // A relation to another architecture's package concerns nothing here.
            let is_here = relation
                .qualifier
                .is_none_or(|one| matches!(one, "any" | "native") || one == self.architecture);
            let plain = Relation { qualifier: None, ..*relation };
            if is_here { self.meant(&plain, others).collect::<Vec<_>>() } else { Vec::new() }
        });
        found.collect()
    }

    /// Leaves out what cannot be beside the packages of the machines, as they
    /// would be after an upgrade. Whether anything was left out.
    fn check_machines(&mut self) -> bool {
        let mut has_changed = false;
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
                    format!("cannot be beside {} {} of the machines", other.name, other.version);
                self.leave_out(victim, reason, None);
                has_changed = true;
            }
        }
        has_changed
    }

    /// Leaves out what brings packages with it that exclude each other.
    /// Whether anything was left out.
    fn check_companies(&mut self) -> bool {
        let mut enemies: HashMap<usize, Vec<usize>> = HashMap::new();
        for index in (0..self.packages.len()).filter(|&one| self.counts(one)) {
            if self.packages[index].negatives.is_empty() || !self.is_offered(index) {
                continue;
            }
            for enemy in self.enemies(index).into_iter().filter(|&one| self.is_offered(one)) {
                enemies.entry(index).or_default().push(enemy);
                enemies.entry(enemy).or_default().push(index);
            }
        }
        if enemies.is_empty() {
            return false;
        }
        let options: Vec<Vec<Vec<usize>>> =
            (0..self.packages.len()).map(|index| self.options(index)).collect();
        let mut company = Company { marks: vec![0; self.packages.len()], turn: 0 };
        let mut faults = Vec::new();
        for index in (0..self.packages.len()).filter(|&one| self.counts(one)) {
            if !self.is_offered(index) {
                continue;
            }
            if let Some((a, b)) = company.gather(index, &options, &enemies) {
                let name = |one: usize| self.packages[one].name;
                let reason = if a == index || b == index {
                    let other = if a == index { b } else { a };
                    format!("excludes {}, which it needs", name(other))
                } else {
                    format!("needs {} and {}, which exclude each other", name(a), name(b))
                };
                faults.push((index, reason));
            }
        }
        let has_changed = !faults.is_empty();
        faults.into_iter().for_each(|(index, reason)| self.leave_out(index, reason, None));
        has_changed
    }

    /// For each clause of an offered package what would be installed for it:
    /// nothing where machines have it, else the offers, the first named first.
    fn options(&self, index: usize) -> Vec<Vec<usize>> {
        if !self.counts(index) || !self.is_offered(index) {
            return Vec::new();
        }
        let counts = |one| self.counts(one);
        let clauses = self.packages[index].depends.iter().map(|clause| {
            let found = clause.iter().flat_map(|one| self.meant(one, counts));
            let mut found: Vec<usize> = found.take(MAX_OPTIONS).collect();
            found.sort_by_key(|&one| !self.is_on_machines(one));
            match found.first() {
                Some(&first) if !self.is_offered(first) => Vec::new(),
                Some(&first) if self.is_on_machines(first) => vec![first],
                _ => found.into_iter().filter(|&one| self.is_offered(one)).collect(),
            }
        });
        clauses.filter(|options| !options.is_empty()).collect()
    }
}

/// What comes with a package, gathered greedily as apt would.
struct Company {
    marks: Vec<u32>,
    turn: u32,
}

impl Company {
    /// Two that exclude each other, if there are such.
    fn gather(
        &mut self,
        first: usize,
        options: &[Vec<Vec<usize>>],
        enemies: &HashMap<usize, Vec<usize>>,
    ) -> Option<(usize, usize)> {
        self.turn += 1;
        let turn = self.turn;
        self.marks[first] = turn;
        let mut waiting = vec![first];
        while let Some(index) = waiting.pop() {
            for clause in &options[index] {
                if clause.iter().any(|&one| self.marks[one] == turn) {
                    continue;
                }
                let is_peaceful = |one: &&usize| self.enemy(enemies, **one).is_none();
                let Some(&chosen) = clause.iter().find(is_peaceful).or(clause.first()) else {
                    continue;
                };
                if let Some(enemy) = self.enemy(enemies, chosen) {
                    return Some((enemy, chosen));
                }
                self.marks[chosen] = turn;
                waiting.push(chosen);
            }
        }
        None
    }

    fn enemy(&self, enemies: &HashMap<usize, Vec<usize>>, index: usize) -> Option<usize> {
        enemies.get(&index)?.iter().copied().find(|&one| self.marks[one] == self.turn)
    }
}

fn top(all: &[usize], packages: &[Package<'_>]) -> Option<usize> {
    all.iter().rev().copied().find(|&one| packages[one].fault.is_none())
}

/// By version; of equal ones what machines have comes last and so counts, else
/// the vendor's last release, then the first by name.
fn order(a: &Package<'_>, b: &Package<'_>) -> std::cmp::Ordering {
    let tie = |package: &Package<'_>| match package.origin {
        Origin::Standing => (true, 0, None),
        Origin::Offered(id, _) => (false, id.release, Some(Reverse(id.clone()))),
    };
    version::compare(a.version, b.version).then_with(|| tie(a).cmp(&tie(b)))
}

fn of_standing<'a>(one: &'a Standing, architecture: &str) -> Package<'a> {
    // What dpkg has installed it could read; what it could not is no relation.
    let read = |text: &'a str| relation::parse(text, architecture).unwrap_or_default();
    Package {
        name: &one.name,
        version: &one.version,
        is_allowed: one.is_allowed,
        depends: read(&one.depends),
        negatives: read(&one.negatives).into_iter().flatten().collect(),
        provides: provides(read(&one.provides)),
        origin: Origin::Standing,
        fault: None,
    }
}

fn of_offered<'a>(
    revision: &'a RevisionId,
    payload: &'a Payload,
    architecture: &str,
) -> Package<'a> {
    let mut fault = None;
    let mut read = |name: &str| {
        let text = field(&payload.control, name).unwrap_or_default();
        relation::parse(text, architecture).unwrap_or_else(|error| {
            fault.get_or_insert((format!("its {name} cannot be read: {error}"), None));
            Vec::new()
        })
    };
    let mut depends = read("Pre-Depends");
    depends.extend(read("Depends"));
    let mut negatives: Vec<Relation<'a>> = read("Breaks").into_iter().flatten().collect();
    negatives.extend(read("Conflicts").into_iter().flatten());
    let provides = provides(read("Provides"));
    Package {
        name: &payload.package,
        version: &payload.version,
        is_allowed: field(&payload.control, "Multi-Arch") == Some("allowed"),
        depends,
        negatives,
        provides,
        origin: Origin::Offered(revision, payload),
        fault,
    }
}

fn provides<'a>(clauses: Vec<Clause<'a>>) -> Vec<(&'a str, Option<&'a str>)> {
    let version = |relation: &Relation<'a>| relation.version.map(|(_, version)| version);
    clauses.into_iter().flatten().map(|one| (one.name, version(&one))).collect()
}
