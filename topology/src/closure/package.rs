//! A package of a [universe](super::universe), its relations read.

use std::cmp::Reverse;

use super::names::{Clause, Named, Names};
use crate::debian::relation;
use crate::debian::{Relations, field, version};
use crate::revision::{Payload, RevisionId};

/// Where a package comes from.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    /// It is on the machines, or they can get it elsewhere.
    Standing,
    /// A revision has it.
    Offered(&'a RevisionId, &'a Payload),
}

pub(super) struct Package<'a> {
    pub(super) name: &'a str,
    /// The number of its name.
    pub(super) id: usize,
    pub(super) version: &'a str,
    pub(super) is_allowed: bool,
    pub(super) depends: Vec<Clause<'a>>,
    /// How many clauses, the first ones, are `Pre-Depends`; of offered packages only.
    pub(super) before: usize,
    pub(super) negatives: Vec<Named<'a>>,
    pub(super) provides: Vec<(usize, Option<&'a str>)>,
    pub(super) origin: Origin<'a>,
    /// Why it is left out, and the clause that nothing satisfies.
    pub(super) fault: Option<(String, Option<String>)>,
}

impl<'a> Package<'a> {
    pub(super) fn standing(
        name: &'a str,
        version: &'a str,
        relations: &'a Relations,
        architecture: &str,
        names: &mut Names<'a>,
    ) -> Self {
        // What dpkg has installed it could read; what it could not is no relation.
        let mut read = |text| read(text, architecture, names).unwrap_or_default();
        Self {
            name,
            version,
            is_allowed: relations.is_allowed,
            depends: read(&relations.depends),
            before: 0,
            negatives: read(&relations.negatives).concat(),
            provides: provides(&read(&relations.provides)),
            id: names.id(name),
            origin: Origin::Standing,
            fault: None,
        }
    }

    pub(super) fn offered(
        revision: &'a RevisionId,
        payload: &'a Payload,
        architecture: &str,
        names: &mut Names<'a>,
    ) -> Self {
        let mut fault = None;
        let mut read = |name: &str| {
            let text = field(&payload.control, name).unwrap_or_default();
            read(text, architecture, names).unwrap_or_else(|error| {
                fault.get_or_insert((format!("its {name} cannot be read: {error}"), None));
                Vec::new()
            })
        };
        let mut depends = read("Pre-Depends");
        let before = depends.len();
        depends.extend(read("Depends"));
        let mut negatives = read("Breaks");
        negatives.extend(read("Conflicts"));
        let provides = provides(&read("Provides"));
        Self {
            name: &payload.package,
            version: &payload.version,
            is_allowed: field(&payload.control, "Multi-Arch") == Some("allowed"),
            depends,
            before,
            negatives: negatives.concat(),
            provides,
            id: names.id(&payload.package),
            origin: Origin::Offered(revision, payload),
            fault,
        }
    }
}

/// By version; of equal ones what machines have comes last and so counts, else
/// the vendor's last release, then the first by name.
pub(super) fn order(a: &Package<'_>, b: &Package<'_>) -> std::cmp::Ordering {
    let tie = |package: &Package<'_>| match package.origin {
        Origin::Standing => (true, 0, None),
        Origin::Offered(id, _) => (false, id.release, Some(Reverse(id.clone()))),
    };
    version::compare(a.version, b.version).then_with(|| tie(a).cmp(&tie(b)))
}

fn read<'a>(
    text: &'a str,
    architecture: &str,
    names: &mut Names<'a>,
) -> Result<Vec<Clause<'a>>, relation::Error> {
    relation::parse_as(text, architecture, |one| names.named(one))
}

/// What a package's `Provides` names, each with its version.
fn provides<'a>(read: &[Clause<'a>]) -> Vec<(usize, Option<&'a str>)> {
    let version = |one: &Named<'a>| one.version.map(|(_, version)| version);
    read.iter().flatten().map(|one| (one.id, version(one))).collect()
}
