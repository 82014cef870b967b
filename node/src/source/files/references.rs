//! How a manifest's revisions hang together: no name twice, nothing that
//! replaces or needs itself, nothing needed that is not there.

use std::collections::BTreeMap;

use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{Reference, RevisionId, UpdateId};

use super::fault::Fault;
use super::manifest::{Entry, Kind, Manifest};

/// The most relations between revisions that are followed: each of the most
/// revisions with a hundred.
const MAX_RELATIONS: usize = 1_000_000;

/// The most revisions of a circle that are named.
const MAX_NAMED: usize = 10;

/// What is wrong as far as the manifest alone shows it.
pub(super) fn local(manifest: &Manifest, source: &SourceName) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&RevisionId, &Entry> = BTreeMap::new();
    for entry in &manifest.revisions {
        match seen.get(&entry.id) {
            None => {
                seen.insert(&entry.id, entry);
            }
            Some(first) => faults.push(Fault::new(
                entry.line,
                format!("{} stands at line {} already", short(&entry.id), first.line),
                "give each revision a version of its own",
            )),
        }
    }
    let known = Known::of(manifest);
    for entry in &manifest.revisions {
        for named in entry.references.iter().filter(|named| named.kind == Kind::Prerequisite) {
            let is_own = named.reference.update.source == *source;
            if is_own && known.matching(&named.reference).next().is_none() {
                faults.push(Fault::new(
                    named.line,
                    format!("prerequisite {} does not exist", own(&named.reference)),
                    "name a revision of this manifest, or add it",
                ));
            }
        }
    }
    for kind in [Kind::Supersedes, Kind::Prerequisite] {
        faults.extend(circles(manifest, &known, kind));
    }
    faults
}

/// Prerequisites of other sources that are not known.
pub(super) fn foreign(
    manifest: &Manifest,
    source: &SourceName,
    is_known: &dyn Fn(&Reference) -> bool,
) -> Vec<Fault> {
    let named = manifest.revisions.iter().flat_map(|entry| &entry.references);
    named
        .filter(|named| named.kind == Kind::Prerequisite)
        .filter(|named| named.reference.update.source != *source && !is_known(&named.reference))
        .map(|named| {
            Fault::new(
                named.line,
                format!("prerequisite {} does not exist", named.reference),
                "synchronise its source first, or mend its name",
            )
        })
        .collect()
}

/// The manifest's revisions by update.
struct Known<'m> {
    entries: &'m [Entry],
    by_update: BTreeMap<&'m UpdateId, Vec<usize>>,
}

impl<'m> Known<'m> {
    fn of(manifest: &'m Manifest) -> Self {
        let mut by_update: BTreeMap<&UpdateId, Vec<usize>> = BTreeMap::new();
        for (index, entry) in manifest.revisions.iter().enumerate() {
            by_update.entry(&entry.id.update).or_default().push(index);
        }
        Self { entries: &manifest.revisions, by_update }
    }

    fn matching<'s>(&'s self, reference: &'s Reference) -> impl Iterator<Item = usize> + 's {
        let versions = self.by_update.get(&reference.update).map(Vec::as_slice);
        versions
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|index| reference.matches(&self.entries[*index].id))
    }
}

/// Revisions that replace or need each other in a circle, each circle once.
fn circles(manifest: &Manifest, known: &Known<'_>, kind: Kind) -> Vec<Fault> {
    let mut relations = 0;
    let mut next: Vec<Vec<usize>> = Vec::with_capacity(manifest.revisions.len());
    for (index, entry) in manifest.revisions.iter().enumerate() {
        let mut targets = Vec::new();
        for named in entry.references.iter().filter(|named| named.kind == kind) {
            // "Every version of itself" leaves the revision itself out.
            let is_whole = named.reference.version.is_none();
            targets.extend(
                known.matching(&named.reference).filter(|one| !(is_whole && *one == index)),
            );
        }
        relations += targets.len();
        if relations > MAX_RELATIONS {
            let what = format!("more than {MAX_RELATIONS} relations between revisions");
            return vec![Fault::new(entry.line, what, "name versions rather than whole updates")];
        }
        next.push(targets);
    }
    find_circles(&next).into_iter().map(|circle| fault(manifest, &circle, kind)).collect()
}

/// Walks every path once, without recursion: manifests may be long.
fn find_circles(next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; next.len()];
    let mut circles = Vec::new();
    for start in 0..next.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::OnPath;
        let mut path = vec![(start, 0)];
        while let Some((at, taken)) = path.last_mut() {
            let Some(&to) = next[*at].get(*taken) else {
                marks[*at] = Mark::Done;
                path.pop();
                continue;
            };
            *taken += 1;
            match marks[to] {
                Mark::Done => {}
                Mark::New => {
                    marks[to] = Mark::OnPath;
                    path.push((to, 0));
                }
                Mark::OnPath => {
                    let begin = path.iter().position(|(one, _)| *one == to).unwrap_or(0);
                    circles.push(path[begin..].iter().map(|(one, _)| *one).collect());
                }
            }
        }
    }
    circles
}

fn fault(manifest: &Manifest, circle: &[usize], kind: Kind) -> Fault {
    let entry = |index: usize| &manifest.revisions[index];
    let line = circle.iter().map(|index| entry(*index).line).min().unwrap_or(0);
    let mut names: Vec<String> =
        circle.iter().take(MAX_NAMED).map(|index| short(&entry(*index).id)).collect();
    if circle.len() > MAX_NAMED {
        names.push("…".to_owned());
    }
    names.extend(circle.first().map(|index| short(&entry(*index).id)));
    let (what, remedy) = match kind {
        Kind::Supersedes => ("revisions supersede each other", "let only the newer one supersede"),
        Kind::Prerequisite => ("revisions need each other", "release them as one revision"),
    };
    Fault::new(line, format!("{what} in a circle: {}", names.join(" → ")), remedy)
}

/// As the manifest writes it.
/// A reference within the manifest, as its author writes it.
fn own(reference: &Reference) -> String {
    let name = &reference.update.name;
    match &reference.version {
        Some(version) => format!("{name}@{version}"),
        None => name.to_string(),
    }
}

fn short(id: &RevisionId) -> String {
    format!("{}@{}", id.update.name, id.version)
}
