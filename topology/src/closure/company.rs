//! What a package brings with it must not exclude itself.

use std::collections::HashMap;

use super::universe::Universe;

/// The most packages considered for one clause when a package's company is
/// gathered.
const MAX_OPTIONS: usize = 16;

/// Whom each package excludes, or is excluded by.
pub(super) type Enemies = HashMap<usize, Vec<usize>>;

impl Universe<'_> {
    /// Leaves out what brings packages with it that exclude each other.
    /// Whether anything was left out.
    pub(super) fn check_companies(&mut self) -> bool {
        let enemies = self.quarrels();
        if enemies.is_empty() {
            return false;
        }
        let options: Vec<Vec<Vec<usize>>> =
            (0..self.packages.len()).map(|index| self.options(index)).collect();
        let mut company = Company::among(self.packages.len());
        let mut faults = Vec::new();
        for index in (0..self.packages.len()).filter(|&one| self.counts(one)) {
            if !self.is_offered(index) {
                continue;
            }
            company.begin();
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

    /// Who of the offered packages excludes whom.
    pub(super) fn quarrels(&self) -> Enemies {
        let mut enemies: Enemies = HashMap::new();
        for index in (0..self.packages.len()).filter(|&one| self.counts(one)) {
            if self.packages[index].negatives.is_empty() || !self.is_offered(index) {
                continue;
            }
            for enemy in self.enemies(index).into_iter().filter(|&one| self.is_offered(one)) {
                enemies.entry(index).or_default().push(enemy);
                enemies.entry(enemy).or_default().push(index);
            }
        }
        enemies
    }

    /// For each clause of an offered package what would be installed for it:
    /// nothing where machines have it, else the offers, the first named first.
    pub(super) fn options(&self, index: usize) -> Vec<Vec<usize>> {
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

/// What comes with a package, or with several, gathered greedily as apt would.
pub(super) struct Company {
    marks: Vec<u32>,
    turn: u32,
}

impl Company {
    /// Of some of so many packages.
    pub(super) fn among(count: usize) -> Self {
        Self { marks: vec![0; count], turn: 0 }
    }

    /// Begins anew, with nobody.
    pub(super) fn begin(&mut self) {
        self.turn += 1;
    }

    /// Adds a package alone.
    pub(super) fn add(&mut self, index: usize) {
        self.marks[index] = self.turn;
    }

    /// Whether a package is in it.
    pub(super) fn has(&self, index: usize) -> bool {
        self.marks[index] == self.turn
    }

    /// Adds a package and what comes with it; two that exclude each other, if there
    /// are such.
    pub(super) fn gather(
        &mut self,
        first: usize,
        options: &[Vec<Vec<usize>>],
        enemies: &Enemies,
    ) -> Option<(usize, usize)> {
        self.add(first);
        let mut waiting = vec![first];
        while let Some(index) = waiting.pop() {
            for clause in &options[index] {
                if clause.iter().any(|&one| self.has(one)) {
                    continue;
                }
                let is_peaceful = |one: &&usize| self.enemy(enemies, **one).is_none();
                let Some(&chosen) = clause.iter().find(is_peaceful).or(clause.first()) else {
                    continue;
                };
                if let Some(enemy) = self.enemy(enemies, chosen) {
                    return Some((enemy, chosen));
                }
                self.add(chosen);
                waiting.push(chosen);
            }
        }
        None
    }

    fn enemy(&self, enemies: &Enemies, index: usize) -> Option<usize> {
        enemies.get(&index)?.iter().copied().find(|&one| self.has(one))
    }
}
