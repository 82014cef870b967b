//! Where files go on machines, of revisions whose files are put in the place of others.

use std::collections::BTreeMap;

use patchmesh_topology::revision::place::{
    Error, MAX_MODE, MAX_PATH, MAX_PLACED, MAX_PLACED_BYTES,
};
use patchmesh_topology::revision::{Payload, Place};
use patchmesh_topology::subscription::are_related;

use super::fields::{Fields, Notes};
use super::{EVERY_ARCHITECTURE, File, MAX_WORD};

/// What only such files state.
const KEYS: [&str; 4] = ["path", "mode", "owner", "group"];

/// Where a file goes.
pub(super) fn place(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Option<Place> {
    // Longer ones are a fault of the place, which says more.
    let path = fields.required_text(notes, "path", 2 * MAX_PATH);
    let mode = mode(fields, notes);
    let mut owner = |key| fields.text(notes, key, MAX_WORD).map(|(line, text)| (line, text.into()));
    let (owner, group) = (owner("owner"), owner("group"));
    let (line, path) = path?;
    let mode = mode?;
    let lines = [&owner, &group].map(|one: &Option<(usize, String)>| one.as_ref().map(|one| one.0));
    let word = |one: Option<(usize, String)>| one.map(|(_, text)| text).unwrap_or_default();
    let place = Place { path: path.to_owned(), mode, owner: word(owner), group: word(group) };
    match place.check() {
        Ok(()) => Some(place),
        Err(error) => {
            let [owner, group] = lines;
            let at = match &error {
                Error::Owner { kind: "owner", .. } => owner,
                Error::Owner { .. } => group,
                Error::Path(_) | Error::Long(_) | Error::Mode(_) => Some(line),
            };
            notes.fault(at.unwrap_or(line), error.to_string(), error.remedy());
            None
        }
    }
}

/// The mode, `Some(None)` where none is stated.
#[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
fn mode(fields: &mut Fields<'_, '_>, notes: &mut Notes) -> Option<Option<u32>> {
    let Some((line, text)) = fields.text(notes, "mode", MAX_WORD) else {
        return (!fields.has("mode")).then_some(None);
    };
    let is_octal = (3..=4).contains(&text.len()) && text.chars().all(|c| c.is_digit(8));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= MAX_MODE => Some(Some(mode)),
        _ => {
            let remedy = "write three or four octal digits in quotes, such as \"0644\"";
            notes.fault(line, format!("{text:?} is no mode of a file"), remedy);
            None
        }
    }
}

/// Notes what a file states of a place though it is not put in one.
pub(super) fn none(fields: &mut Fields<'_, '_>, notes: &mut Notes) {
    for key in KEYS {
        if let Some((line, _)) = fields.text(notes, key, 2 * MAX_PATH) {
            let remedy = "remove it, or write `kind = \"files\"` below [revision.installer]";
            notes.fault(line, format!("{key} is for files that are put in place alone"), remedy);
        }
    }
}

/// What does not go together of the files of a revision.
pub(super) fn check(line: usize, files: &[File], notes: &mut Notes) {
    if files.len() > MAX_PLACED {
        let what = format!("{} files are to be put in place together", files.len());
        notes.fault(line, what, format!("part them into revisions of at most {MAX_PLACED}"));
        return;
    }
    let mut by_path: BTreeMap<&str, Vec<&File>> = BTreeMap::new();
    for file in files {
        if file.payload.length > MAX_PLACED_BYTES {
            let what = format!("{:?} has more than 1 GiB", file.payload.filename);
            notes.fault(file.line, what, "install it by a command: machines could not look at it");
        }
        let Some(place) = &file.payload.place else { continue };
        let others = by_path.entry(&place.path).or_default();
        if let Some(first) = others.iter().find(|one| meet(&one.payload, &file.payload)) {
            let what = format!(
                "{:?} goes to {} on the same machines as the file at line {}",
                file.payload.filename, place.path, first.line
            );
            let remedy = "give one of them another path, architecture or language";
            notes.fault(file.line, what, remedy);
        }
        others.push(file);
    }
}

/// Whether a machine of one architecture and language gets both.
fn meet(one: &Payload, other: &Payload) -> bool {
    let architectures = [&one.architecture, &other.architecture];
    let languages = [&one.language, &other.language];
    let all = |text: &&String| text.as_str() == EVERY_ARCHITECTURE;
    let every = |text: &&String| text.is_empty();
    (architectures[0] == architectures[1] || architectures.iter().any(all))
        && (languages.iter().any(every) || are_related(languages[0], languages[1]))
}
