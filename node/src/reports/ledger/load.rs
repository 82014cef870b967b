//! Counts everything on the disk, a record at a time.

use std::collections::BTreeSet;

use patchmesh_topology::compliance::Register;
use patchmesh_topology::name::MachineName;
use patchmesh_topology::tally::{Cell, Place, Selection, Tallies};

use super::records::{
    MACHINES, MachineRecord, REVOKED, WORDS, WordRecord, as_news, word_key, words_of,
};
use crate::store::{self, Store};

/// The machines that were not shut out, counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) tallies: Tallies,
    pub(super) register: Register,
    /// How many there are, shut out or not.
    pub(super) machines: u64,
}

/// Counts all of them.
pub(super) fn all(store: &Store) -> Result<Counted, store::Error> {
    let mut counted = Counted::default();
    counted.machines = each_member(store, |name, record| {
        if let Some(machine) = record.bare() {
            counted.tallies.enter(name, &machine);
            counted.register.put(name, &machine, record.says());
        }
        Ok(())
    })?;
    // The words of a machine follow each other.
    let (mut name, mut words) = (String::new(), Vec::new());
    store.for_each(&WORDS, |key, record| {
        let Some((machine, revision)) = key.split_once(' ') else { return Ok(true) };
        if machine != name {
            say(store, &mut counted, &name, std::mem::take(&mut words))?;
            machine.clone_into(&mut name);
        }
        if let Ok(revision) = revision.parse() {
            words.push((revision, record));
        }
        Ok(true)
    })?;
    say(store, &mut counted, &name, words)?;
    Ok(counted)
}

/// Counts the words of a machine that is counted without them.
fn say(
    store: &Store,
    counted: &mut Counted,
    name: &str,
    words: Vec<(patchmesh_topology::revision::RevisionId, WordRecord)>,
) -> Result<(), store::Error> {
    if words.is_empty() || store.get(&REVOKED, name)?.is_some() {
        return Ok(());
    }
    let record = store.get(&MACHINES, name)?.unwrap_or_default();
    if let (Ok(name), Some(mut machine)) = (name.parse::<MachineName>(), record.bare()) {
        counted.tallies.change(&name, &mut machine, as_news(&words.into_iter().collect()));
        counted.register.put(&name, &machine, record.says());
    }
    Ok(())
}

/// The cells of some selections over all machines, read once.
pub(super) fn cells(
    store: &Store,
    selections: Vec<(String, Selection)>,
) -> Result<Vec<(String, Cell)>, store::Error> {
    let cell = |(name, selection)| (name, Cell::of(selection));
    let mut cells: Vec<(String, Cell)> = selections.into_iter().map(cell).collect();
    each_member(store, |name, record| {
        let Some(machine) = record.bare() else { return Ok(()) };
        for (_, cell) in &mut cells {
            if !cell.selection().selects(name, &machine.place) {
                continue;
            }
            let mut words = std::collections::BTreeMap::new();
            for revision in &cell.selection().revisions {
                if let Some(word) = store.get(&WORDS, &word_key(name.as_str(), revision))? {
                    words.insert(revision.clone(), word);
                }
            }
            let mut machine = machine.clone();
            machine.take(as_news(&words));
            cell.add(name, &machine);
        }
        Ok(())
    })?;
    Ok(cells)
}

/// Enters the machines of some places in a register again.
pub(super) fn again(
    store: &Store,
    places: &BTreeSet<Place>,
    register: &mut Register,
) -> Result<(), store::Error> {
    if places.is_empty() {
        return Ok(());
    }
    each_member(store, |name, record| {
        let Some(mut machine) = record.bare() else { return Ok(()) };
        if places.contains(&machine.place) {
            machine.take(as_news(&words_of(store, name)?));
            register.put(name, &machine, record.says());
        }
        Ok(())
    })?;
    Ok(())
}

/// Visits every machine that was not shut out; says how many there are in all.
fn each_member(
    store: &Store,
    mut visit: impl FnMut(&MachineName, &MachineRecord) -> Result<(), store::Error>,
) -> Result<u64, store::Error> {
    let mut machines = 0;
    // Few, so they are all in memory.
    let revoked: std::collections::HashSet<String> =
        store.scan(&REVOKED)?.into_iter().map(|(name, _)| name).collect();
    store.for_each(&MACHINES, |name, record| {
        machines += 1;
        if !revoked.contains(&name)
            && let Ok(name) = name.parse()
        {
            visit(&name, &record)?;
        }
        Ok(true)
    })?;
    Ok(machines)
}
