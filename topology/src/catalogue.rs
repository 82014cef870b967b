//! What happens when a vendor's present releases meet what is known.
//!
//! A revision is never edited. What a vendor changed under a version that is
//! known already enters as another release of it (`#2`, `#3`, …); what is
//! known is not entered again, however often it is seen.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::revision::{CatalogueEntry, Revision, RevisionId, UpdateId};

/// A revision of the catalogue, as far as merging has to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub id: RevisionId,
    /// [`CatalogueEntry::ordinal`].
    pub ordinal: u32,
    /// [`Revision::fingerprint`].
    pub fingerprint: Digest,
}

/// A revision that enters the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entering {
    /// The revision, its release number assigned.
    pub revision: Revision,
    /// How many revisions of the same update came before it.
    pub ordinal: u32,
    /// [`Revision::fingerprint`].
    pub fingerprint: Digest,
}

/// What came of merging, each list in the order of the input.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merge {
    /// The first revision of an update.
    pub new: Vec<Entering>,
    /// Another revision of a known update.
    pub updated: Vec<Entering>,
    /// Nothing changed: the revision of the catalogue that this is.
    pub known: Vec<RevisionId>,
}

impl Merge {
    /// All that enters, new ones first.
    pub fn entering(&self) -> impl Iterator<Item = &Entering> {
        self.new.iter().chain(&self.updated)
    }

    /// Whether the catalogue stays as it is.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.new.is_empty() && self.updated.is_empty()
    }
}

/// Sorts `incoming` into what is new, what is changed and what is known.
///
/// `known` gives every revision of an update that the catalogue has. The
/// release numbers of `incoming` are not looked at.
pub fn merge(
    incoming: impl IntoIterator<Item = Revision>,
    known: impl Fn(&UpdateId) -> Vec<Known>,
) -> Merge {
    let mut merge = Merge::default();
    // What is known of each update met so far, what entered before included.
    let mut met: BTreeMap<UpdateId, Vec<Known>> = BTreeMap::new();
    for mut revision in incoming {
        let fingerprint = revision.fingerprint();
        let update = revision.id.update.clone();
        let siblings = met.entry(update).or_insert_with_key(&known);
        let same_version = || siblings.iter().filter(|one| one.id.version == revision.id.version);
        if let Some(same) = same_version().find(|one| one.fingerprint == fingerprint) {
            merge.known.push(same.id.clone());
            continue;
        }
        let latest = same_version().map(|one| one.id.release).max().unwrap_or(0);
        revision.id.release = latest.saturating_add(1);
        let ordinal = siblings.iter().map(|one| one.ordinal.saturating_add(1)).max().unwrap_or(0);
        // Most updates have one revision, and there are as many as a distribution has sources.
        siblings.reserve_exact(1);
        siblings.push(Known { id: revision.id.clone(), ordinal, fingerprint });
        let list = if ordinal == 0 { &mut merge.new } else { &mut merge.updated };
        list.push(Entering { revision, ordinal, fingerprint });
    }
    merge
}

/// Every revision of `update` in a catalogue held as a map.
#[must_use]
pub fn known_in(catalogue: &BTreeMap<RevisionId, CatalogueEntry>, update: &UpdateId) -> Vec<Known> {
    let first = RevisionId { update: update.clone(), version: String::new(), release: 0 };
    catalogue
        .range(first..)
        .take_while(|(id, _)| id.update == *update)
        .map(|(id, entry)| Known {
            id: id.clone(),
            ordinal: entry.ordinal,
            fingerprint: entry.fingerprint,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn revision(name: &str, version: &str, content: &str) -> Revision {
        Revision {
            id: format!("deb:stable/{name}@{version}").parse().expect("a revision"),
            title: content.to_owned(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: Vec::new(),
            facts: crate::revision::Facts::default(),
        }
    }

    #[derive(Default)]
    struct Catalogue(Vec<Known>);

    impl Catalogue {
        fn enter(&mut self, incoming: impl IntoIterator<Item = Revision>) -> Merge {
            let of = |update: &UpdateId| {
                self.0.iter().filter(|known| known.id.update == *update).cloned().collect()
            };
            let merge = merge(incoming, of);
            self.0.extend(merge.entering().map(|one| Known {
                id: one.revision.id.clone(),
                ordinal: one.ordinal,
                fingerprint: one.fingerprint,
            }));
            merge
        }
    }

    fn ids(entering: &[Entering]) -> Vec<(String, u32)> {
        entering.iter().map(|one| (one.revision.id.to_string(), one.ordinal)).collect()
    }

    #[test]
    fn tells_new_from_updated_from_known() {
        let mut catalogue = Catalogue::default();
        let merge = catalogue.enter([revision("a", "1", "x"), revision("b", "1", "x")]);
        assert_eq!((merge.new.len(), merge.updated.len()), (2, 0));
        let merge = catalogue.enter([revision("a", "2", "x"), revision("b", "1", "x")]);
        assert_eq!(ids(&merge.updated), [("deb:stable/a@2".to_owned(), 1)]);
        assert_eq!(merge.known, [revision("b", "1", "x").id]);
        let merge = catalogue.enter([revision("a", "2", "other bytes")]);
        assert_eq!(ids(&merge.updated), [("deb:stable/a@2#2".to_owned(), 2)]);
        let merge = catalogue.enter([revision("a", "2", "x")]);
        assert!(merge.is_unchanged(), "a vendor that goes back releases nothing new");
    }

    #[test]
    fn two_releases_in_one_input_are_two_revisions() {
        let mut catalogue = Catalogue::default();
        let merge = catalogue.enter([revision("a", "1", "x"), revision("a", "1", "y")]);
        assert_eq!(ids(&merge.new), [("deb:stable/a@1".to_owned(), 0)]);
        assert_eq!(ids(&merge.updated), [("deb:stable/a@1#2".to_owned(), 1)]);
    }

    fn inputs() -> impl Strategy<Value = Vec<Vec<Revision>>> {
        let revision = ("[ab]", "[12]", "[xyz]")
            .prop_map(|(name, version, content)| revision(&name, &version, &content));
        vec(vec(revision, 0..6), 0..6)
    }

    proptest! {
        #[test]
        fn merging_again_changes_nothing_and_names_are_unique(inputs in inputs()) {
            let mut catalogue = Catalogue::default();
            for input in inputs {
                let count = input.len();
                let merge = catalogue.enter(input.clone());
                prop_assert_eq!(merge.entering().count() + merge.known.len(), count);
                let again = catalogue.enter(input);
                prop_assert!(again.is_unchanged());
            }
            let mut ids: Vec<_> = catalogue.0.iter().map(|known| known.id.clone()).collect();
            let all = ids.len();
            ids.sort();
            ids.dedup();
            prop_assert_eq!(ids.len(), all);
        }
    }

    #[test]
    fn finds_the_revisions_of_one_update_in_a_map() {
        let document = crate::revision::DocumentRef { digest: Digest::of(b"x"), length: 1 };
        let catalogue: BTreeMap<_, _> = [("a", "1"), ("a", "2"), ("ab", "1"), ("b", "1")]
            .into_iter()
            .map(|(name, version)| {
                let revision = revision(name, version, "x");
                let entry = CatalogueEntry {
                    document,
                    entered_at: jiff::Timestamp::UNIX_EPOCH,
                    ordinal: 0,
                    fingerprint: revision.fingerprint(),
                };
                (revision.id, entry)
            })
            .collect();
        let known = known_in(&catalogue, &revision("a", "1", "x").id.update);
        let ids: Vec<_> = known.iter().map(|known| known.id.version.as_str()).collect();
        assert_eq!(ids, ["1", "2"]);
    }
}
