//! Which revisions of the catalogue bring a package: for what a decision would
//! have to bring with it. Made when first asked for and kept up to date; some
//! 200 bytes for each package.

use std::collections::{HashMap, HashSet};

use patchmesh_topology::debian::relation::{self, Clause};
use patchmesh_topology::debian::{field, version};
use patchmesh_topology::revision::{Revision, RevisionId};

use crate::generation::{Generation, load, read_revision};
use crate::store::Store;

/// One package that a revision brings under a name.
#[derive(Debug)]
struct Brought {
    revision: u32,
    architecture: Box<str>,
    /// Its own version, or that under which it provides the name.
    version: Option<Box<str>>,
    is_provided: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Packages {
    revisions: Vec<RevisionId>,
    known: HashSet<RevisionId>,
    by_name: HashMap<Box<str>, Vec<Brought>>,
}

impl Packages {
    /// Takes in what entered the catalogue since. Blocks.
    ///
    /// # Errors
    /// A revision that cannot be read.
    pub fn learn(&mut self, generation: &Generation, store: &Store) -> Result<(), load::Error> {
        if self.known.len() == generation.catalogue.len() {
            return Ok(());
        }
        for id in generation.catalogue.keys() {
            if self.known.contains(id) {
                continue;
            }
            if let Some(revision) = read_revision(generation, store, id)? {
                self.add(&revision);
            }
            self.known.insert(id.clone());
        }
        Ok(())
    }

    fn add(&mut self, revision: &Revision) {
        let Ok(number) = u32::try_from(self.revisions.len()) else { return };
        self.revisions.push(revision.id.clone());
        for payload in revision.payloads.iter().filter(|payload| !payload.control.is_empty()) {
            let brought = |version: Option<&str>, is_provided| Brought {
                revision: number,
                architecture: payload.architecture.as_str().into(),
                version: version.map(Into::into),
                is_provided,
            };
            let own = self.by_name.entry(payload.package.as_str().into()).or_default();
            own.push(brought(Some(&payload.version), false));
            let provides = field(&payload.control, "Provides").unwrap_or_default();
            let provides = relation::parse(provides, &payload.architecture).unwrap_or_default();
            for one in provides.into_iter().flatten() {
                let version = one.version.map(|(_, version)| version);
                let names = self.by_name.entry(one.name.into()).or_default();
                names.push(brought(version, true));
            }
        }
    }

    /// The revision to approve so that a clause is satisfied on machines of
    /// `architecture`: of the first alternative that any brings, the newest of
    /// those that `prefer` ranks highest; what it ranks `None` is not taken.
    pub fn suitable<R: Ord>(
        &self,
        clause: &Clause<'_>,
        architecture: &str,
        prefer: impl Fn(&RevisionId) -> Option<R>,
    ) -> Option<&RevisionId> {
        clause.iter().find_map(|relation| {
            let brought = self.by_name.get(relation.name)?.iter();
            let fitting = brought.filter(|one| {
                let is_here = &*one.architecture == architecture || &*one.architecture == "all";
                let version = one.version.as_deref();
                is_here
                    && match (one.is_provided, version) {
                        (true, version) => relation.takes_provided(version),
                        (false, version) => relation.takes(version.unwrap_or_default()),
                    }
            });
            let ranked = fitting.filter_map(|one| {
                let id = self.revisions.get(one.revision as usize)?;
                Some((prefer(id)?, one, id))
            });
            let best = ranked.max_by(|(a_rank, a, a_id), (b_rank, b, b_id)| {
                let text = |one: &Brought| one.version.as_deref().unwrap_or_default().to_owned();
                (!a.is_provided)
                    .cmp(&!b.is_provided)
                    .then_with(|| a_rank.cmp(b_rank))
                    .then_with(|| version::compare(&text(a), &text(b)))
                    .then_with(|| a_id.release.cmp(&b_id.release))
                    .then_with(|| b_id.cmp(a_id))
            });
            best.map(|(_, _, id)| id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchmesh_topology::digest::Sha256;
    use patchmesh_topology::revision::{Facts, Payload};

    fn revision(id: &str, provides: &str) -> Revision {
        let id: RevisionId = id.parse().expect("a revision");
        let payload = Payload {
            package: id.update.name.clone(),
            version: id.version.clone(),
            architecture: "amd64".to_owned(),
            component: "main".to_owned(),
            filename: "x.deb".to_owned(),
            length: 1,
            sha256: Sha256::from_bytes([0; 32]),
            control: format!("Package: x\nProvides: {provides}\n"),
            language: String::new(),
            place: None,
        };
        Revision {
            title: String::new(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: vec![payload],
            facts: Facts::default(),
            id,
        }
    }

    #[test]
    fn the_newest_that_fits_is_taken() {
        let mut packages = Packages::default();
        for (id, provides) in [
            ("v:s/lib@1", ""),
            ("v:s/lib@3", ""),
            ("v:s/lib@2", ""),
            ("v:s/other@9", "lib (= 7), virt"),
        ] {
            packages.add(&revision(id, provides));
        }
        let found = |text: &str, architecture: &str| {
            let clauses = relation::parse(text, architecture).expect("a clause");
            let found = packages.suitable(&clauses[0], architecture, |_| Some(()));
            found.map(ToString::to_string)
        };
        assert_eq!(found("lib (>= 2)", "amd64").as_deref(), Some("v:s/lib@3"));
        assert_eq!(found("lib (<< 3)", "amd64").as_deref(), Some("v:s/lib@2"));
        assert_eq!(found("lib (>= 4)", "amd64").as_deref(), Some("v:s/other@9"));
        assert_eq!(found("none | virt", "amd64").as_deref(), Some("v:s/other@9"));
        assert_eq!(found("lib", "arm64"), None);
        let clauses = relation::parse("lib", "amd64").expect("a clause");
        let other = packages.suitable(&clauses[0], "amd64", |id| (id.version != "3").then_some(()));
        assert_eq!(other.map(ToString::to_string).as_deref(), Some("v:s/lib@2"));
    }
}
