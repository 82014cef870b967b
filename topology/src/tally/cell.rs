//! Counts that somebody watches: of the machines that a selection names, each
//! counted once for all revisions of the selection.
//!
//! A wave of a rollout is a cell: its revisions, its geographies and groups, and
//! its share of machines by a rule over their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Area, Count, MAX_CELLS, Machine, News, Place, Standing, Words};
use crate::name::{GroupName, MachineName, Site};
use crate::revision::RevisionId;

/// Whether a machine is meant, by its name alone. The same name gets the same
/// answer always.
pub type Accepts = Arc<dyn Fn(&MachineName) -> bool + Send + Sync>;

/// There are as many cells as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_CELLS} selections of machines are watched already; end some rollouts first")]
pub struct TooMany;

/// Which machines, and about what.
#[derive(Clone, Default)]
pub struct Selection {
    /// What they are asked about.
    pub revisions: BTreeSet<RevisionId>,
    /// Where they are: at one of these or below it; everywhere where it is empty.
    pub geographies: Vec<Site>,
    /// Of which groups; of all where it is empty.
    pub groups: BTreeSet<GroupName>,
    /// Which of them; all where there is none.
    pub accepts: Option<Accepts>,
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection")
            .field("revisions", &self.revisions)
            .field("geographies", &self.geographies)
            .field("groups", &self.groups)
            .field("accepts", &self.accepts.is_some())
            .finish()
    }
}

impl Selection {
    /// Whether a machine is meant.
    #[must_use]
    pub fn selects(&self, name: &MachineName, place: &Place) -> bool {
        place.site.is_in(&self.geographies)
            && (self.groups.is_empty() || self.groups.contains(&place.group))
            && self.accepts.as_ref().is_none_or(|accepts| accepts(name))
    }
}

/// The machines of a selection, counted by place.
#[derive(Debug, Clone)]
pub struct Cell {
    selection: Selection,
    places: BTreeMap<Place, Counted>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Counted {
    known: u64,
    words: Words,
}

impl Counted {
    fn count(&self) -> Count {
        Count { known: self.known, ..self.words.count() }
    }
}

// What counts is the counts: rules over names cannot be compared.
impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.places == other.places && self.selection.revisions == other.selection.revisions
    }
}

impl Eq for Cell {}

impl Cell {
    /// Of a selection, with no machines yet.
    #[must_use]
    pub fn of(selection: Selection) -> Self {
        Self { selection, places: BTreeMap::new() }
    }

    /// Of a selection over these machines.
    #[must_use]
    pub fn over<'a>(
        selection: Selection,
        machines: impl IntoIterator<Item = (&'a MachineName, &'a Machine)>,
    ) -> Self {
        let mut cell = Self::of(selection);
        for (name, machine) in machines {
            cell.add(name, machine);
        }
        cell
    }

    /// Which machines are counted.
    #[must_use]
    pub const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> Count {
        self.count(Area::default())
    }

    /// Those in an area.
    #[must_use]
    pub fn count(&self, area: Area<'_>) -> Count {
        area.of(&self.places).map(|(_, counted)| counted.count()).sum()
    }

    /// By place, in order.
    pub fn places(&self) -> impl Iterator<Item = (&Place, Count)> {
        self.places.iter().map(|(place, counted)| (place, counted.count()))
    }

    fn standing(&self, machine: &Machine) -> Option<(Standing, Timestamp)> {
        machine.standing(&self.selection.revisions)
    }

    /// Counts a machine, if it is meant.
    pub fn add(&mut self, name: &MachineName, machine: &Machine) {
        if self.selection.selects(name, &machine.place) {
            let said = self.standing(machine);
            let counted = self.places.entry(machine.place.clone()).or_default();
            counted.known += 1;
            if let Some((standing, at)) = said {
                counted.words.add(standing, at);
            }
        }
    }

    fn leave(&mut self, name: &MachineName, machine: &Machine) {
        if self.selection.selects(name, &machine.place) {
            let said = self.standing(machine);
            let Some(counted) = self.places.get_mut(&machine.place) else { return };
            counted.known = counted.known.saturating_sub(1);
            if let Some((standing, at)) = said {
                counted.words.take_back(standing, at);
            }
            if counted.known == 0 {
                self.places.remove(&machine.place);
            }
        }
    }
}

/// What the cells that news concern said of its machine before.
pub(super) struct Before(Vec<(String, Option<(Standing, Timestamp)>)>);

/// All cells by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cells {
    cells: BTreeMap<String, Cell>,
    /// Which cells ask about a revision.
    asking: BTreeMap<RevisionId, BTreeSet<String>>,
}

impl Cells {
    pub(super) fn get(&self, name: &str) -> Option<&Cell> {
        self.cells.get(name)
    }

    pub(super) fn watch(&mut self, name: &str, cell: Cell) -> Result<(), TooMany> {
        if self.cells.len() >= MAX_CELLS && !self.cells.contains_key(name) {
            return Err(TooMany);
        }
        self.unwatch(name);
        for revision in &cell.selection.revisions {
            self.asking.entry(revision.clone()).or_default().insert(name.to_owned());
        }
        self.cells.insert(name.to_owned(), cell);
        Ok(())
    }

    pub(super) fn unwatch(&mut self, name: &str) {
        let Some(cell) = self.cells.remove(name) else { return };
        for revision in &cell.selection.revisions {
            if let Some(names) = self.asking.get_mut(revision) {
                names.remove(name);
                if names.is_empty() {
                    self.asking.remove(revision);
                }
            }
        }
    }

    pub(super) fn enter(&mut self, name: &MachineName, machine: &Machine) {
        for cell in self.cells.values_mut() {
            cell.add(name, machine);
        }
    }

    pub(super) fn leave(&mut self, name: &MachineName, machine: &Machine) {
        for cell in self.cells.values_mut() {
            cell.leave(name, machine);
        }
    }

    /// To be called before a machine that stays where it is takes news.
    pub(super) fn before(&self, name: &MachineName, machine: &Machine, news: &News) -> Before {
        let asking = news.words.iter().filter_map(|(revision, _)| self.asking.get(revision));
        let names: BTreeSet<&String> = asking.flatten().collect();
        let said = names.into_iter().filter_map(|one| {
            let cell = self.cells.get(one)?;
            let selects = cell.selection.selects(name, &machine.place);
            selects.then(|| (one.clone(), cell.standing(machine)))
        });
        Before(said.collect())
    }

    /// … and after it has.
    pub(super) fn after(&mut self, machine: &Machine, before: Before) {
        for (name, before) in before.0 {
            let Some(cell) = self.cells.get_mut(&name) else { continue };
            let after = cell.standing(machine);
            if before == after {
                continue;
            }
            let Some(counted) = cell.places.get_mut(&machine.place) else { continue };
            if let Some((standing, at)) = before {
                counted.words.take_back(standing, at);
            }
            if let Some((standing, at)) = after {
                counted.words.add(standing, at);
            }
        }
    }
}
