//! Packages gathered into revisions: one per source package and version.
//!
//! What always holds: the same packages give the same revisions, in whatever
//! order and in however many indices they came.

use std::collections::HashMap;

use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{Facts, Payload, Revision, RevisionParts, UpdateId};

use super::Error;
use super::config::Config;
use super::index::Binary;
use super::stanza::Stanza;

/// The most packages of one source; all of Debian with all its architectures
/// has 650,000. A hostile index of a gigabyte could name ten million.
const MAX_PACKAGES: usize = 1_000_000;

/// The most remarks kept about one synchronisation.
const MAX_NOTES: usize = 20;

/// Up to this many packages a group grows one by one: most sources build one or
/// two, and all of a distribution's are held at once.
const FEW: usize = 4;

/// The longest description kept, in bytes; it is for people's overview.
const MAX_DESCRIPTION: usize = 4096;

/// Packages on their way into revisions.
#[derive(Default)]
pub(super) struct Collector {
    groups: Vec<Group>,
    /// Name and version of the source package, parted by a space, to its group.
    by_source: HashMap<String, usize>,
    /// Where a file was first seen: group and place in it.
    by_file: HashMap<Sha256, (u32, u32)>,
    packages: usize,
}

#[derive(Debug)]
struct Group {
    name: String,
    version: String,
    payloads: Vec<Payload>,
}

/// What a synchronisation yields.
pub(super) struct Gathered {
    /// Sorted by name, then version as text.
    pub(super) revisions: Revisions,
    /// How many packages the indices have, without repetitions.
    pub(super) packages: usize,
    /// What an operator should know about the vendor's indices.
    pub(super) notes: Vec<String>,
}

impl Collector {
    /// Takes a package. `all` packages stand in several indices and count once.
    pub(super) fn add(&mut self, binary: Binary) -> Result<(), Error> {
        if let Some(&(group, place)) = self.by_file.get(&binary.payload.sha256) {
            let known = &self.groups[group as usize].payloads[place as usize];
            if identity(known) == identity(&binary.payload) {
                return Ok(());
            }
        }
        if self.packages == MAX_PACKAGES {
            return Err(Error::ManyPackages { limit: MAX_PACKAGES });
        }
        self.packages += 1;
        let key = format!("{} {}", binary.source, binary.source_version);
        let group = *self.by_source.entry(key).or_insert_with(|| {
            let group =
                Group { name: binary.source, version: binary.source_version, payloads: Vec::new() };
            self.groups.push(group);
            self.groups.len() - 1
        });
        let payloads = &mut self.groups[group].payloads;
        if payloads.len() < FEW {
            payloads.reserve_exact(1);
        }
        // Both are below `MAX_PACKAGES`, so they fit.
        self.by_file.entry(binary.payload.sha256).or_insert((group as u32, payloads.len() as u32));
        payloads.push(binary.payload);
        Ok(())
    }

    /// Makes the revisions that the source's filter lets through.
    pub(super) fn finish(self, config: &Config) -> Gathered {
        let Self { mut groups, packages, by_source, by_file } = self;
        drop((by_source, by_file));
        groups.retain(|group| wanted(group, config));
        groups.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
        let mut notes = Vec::new();
        for group in &mut groups {
            put_in_order(&mut group.payloads, &mut notes);
        }
        let suite = config.suite.label().to_owned();
        let revisions =
            Revisions { groups: groups.into_iter(), source: config.name.clone(), suite };
        Gathered { revisions, packages, notes }
    }
}

/// The revisions of a suite, each made when it is taken: a whole distribution
/// stands in memory once, as its packages.
#[derive(Debug)]
pub struct Revisions {
    groups: std::vec::IntoIter<Group>,
    source: SourceName,
    suite: String,
}

impl Iterator for Revisions {
    type Item = Revision;

    fn next(&mut self) -> Option<Revision> {
        let group = self.groups.next()?;
        Some(revision(group, self.source.clone(), self.suite.clone()))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.groups.size_hint()
    }
}

fn identity(payload: &Payload) -> (&str, &str, &str) {
    (&payload.package, &payload.architecture, &payload.version)
}

/// A pattern may name the source package or any package built from it; either
/// way the whole revision is taken, since its packages belong together.
fn wanted(group: &Group, config: &Config) -> bool {
    config.packages.as_ref().is_none_or(|patterns| {
        patterns.is_match(&group.name)
            || group.payloads.iter().any(|payload| patterns.is_match(&payload.package))
    })
}

/// Sorted, and each once.
fn put_in_order(payloads: &mut Vec<Payload>, notes: &mut Vec<String>) {
    payloads.sort_by(|a, b| identity(a).cmp(&identity(b)).then_with(|| a.sha256.cmp(&b.sha256)));
    payloads.dedup_by(|second, first| {
        let same = identity(second) == identity(first);
        if same && notes.len() < MAX_NOTES {
            notes.push(format!(
                "{} {} ({}) stands in the indices with different contents; the one with SHA-256 {} is taken",
                first.package, first.version, first.architecture, first.sha256
            ));
        }
        same
    });
}

fn revision(group: Group, source: SourceName, suite: String) -> Revision {
    let Group { name, version, payloads } = group;
    let mut architectures: Vec<String> =
        payloads.iter().map(|payload| payload.architecture.clone()).collect();
    architectures.sort();
    architectures.dedup();
    let (title, description) = words(&name, &payloads);
    let update = UpdateId { source, suite, name };
    Revision {
        id: RevisionParts { update, version, release: 1 }.into(),
        title,
        description,
        architectures,
        payloads,
        facts: Facts::default(),
    }
}

/// Title and description: those of the package that is called like its source,
/// else of the first that is not mere debugging symbols.
fn words(name: &str, payloads: &[Payload]) -> (String, String) {
    let best = payloads
        .iter()
        .find(|payload| payload.package == name)
        .or_else(|| payloads.iter().find(|payload| !payload.package.ends_with("-dbgsym")))
        .or(payloads.first());
    let Some(payload) = best else { return (name.to_owned(), String::new()) };
    let stanza = Stanza { text: payload.control.clone(), line: 1, number: 1 };
    let value =
        stanza.fields().flatten().find(|field| field.name.eq_ignore_ascii_case("Description"));
    let mut lines = value.map_or("", |field| field.value).lines();
    let title = lines.next().unwrap_or(name).trim().to_owned();
    let mut description = String::new();
    for line in lines {
        let line = line.trim();
        if description.len() + line.len() >= MAX_DESCRIPTION {
            break;
        }
        description.push_str(if line == "." { "" } else { line });
        description.push('\n');
    }
    (title, description.trim_end().to_owned())
}
