//! What happens when a vendor's present releases meet what is known.
//!
//! A revision is never edited. What a vendor changed under a version that is
//! known already enters as another release of it (`#2`, `#3`, …); what is
//! known is not entered again, however often it is seen.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::revision::{CatalogueEntry, Revision, RevisionId, RevisionParts, UpdateId};

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

/// What a vendor's release is to the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "each is taken apart at once, and most enter")]
pub enum Met {
    /// Nothing changed: the revision of the catalogue that this is.
    Known(RevisionId),
    /// The first revision of an update, with ordinal 0, or another one of a known update.
    Entering(Entering),
}

/// Tells what each of `incoming` is, one after the other: a whole distribution
/// passes without standing in memory twice.
///
/// `known` gives every revision of an update that the catalogue has. The
/// release numbers of `incoming` are not looked at.
pub fn merge(
    incoming: impl IntoIterator<Item = Revision>,
    known: impl Fn(&UpdateId) -> Vec<Known>,
) -> impl Iterator<Item = Met> {
    // What is known of each update met so far, what entered before included.
    let mut met: BTreeMap<UpdateId, Vec<Known>> = BTreeMap::new();
    incoming.into_iter().map(move |mut revision| {
        let fingerprint = revision.fingerprint();
        let update = revision.id.update.clone();
        let siblings = met.entry(update).or_insert_with_key(&known);
        let same_version = || siblings.iter().filter(|one| one.id.version == revision.id.version);
        if let Some(same) = same_version().find(|one| one.fingerprint == fingerprint) {
            return Met::Known(same.id.clone());
        }
        let latest = same_version().map(|one| one.id.release).max().unwrap_or(0);
        revision.id = revision.id.with_release(latest.saturating_add(1));
        let ordinal = siblings.iter().map(|one| one.ordinal.saturating_add(1)).max().unwrap_or(0);
        // Most updates have one revision, and there are as many as a distribution has sources.
        siblings.reserve_exact(1);
        siblings.push(Known { id: revision.id.clone(), ordinal, fingerprint });
        Met::Entering(Entering { revision, ordinal, fingerprint })
    })
}

/// Every revision of `update` in a catalogue held as a map.
#[must_use]
pub fn known_in(catalogue: &BTreeMap<RevisionId, CatalogueEntry>, update: &UpdateId) -> Vec<Known> {
    let first = RevisionParts { update: update.clone(), version: String::new(), release: 0 };
    catalogue
        .range(RevisionId::from(first)..)
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
        fn enter(&mut self, incoming: impl IntoIterator<Item = Revision>) -> Vec<Met> {
            let before = self.0.clone();
            let of = |update: &UpdateId| {
                before.iter().filter(|known| known.id.update == *update).cloned().collect()
            };
            let met: Vec<Met> = merge(incoming, of).collect();
            self.0.extend(met.iter().filter_map(|one| match one {
                Met::Known(_) => None,
                Met::Entering(Entering { revision, ordinal, fingerprint }) => Some(Known {
                    id: revision.id.clone(),
                    ordinal: *ordinal,
                    fingerprint: *fingerprint,
                }),
            }));
            met
        }
    }

    /// `new`, `updated` or `known`, with the name.
    fn told(met: &[Met]) -> Vec<String> {
        met.iter()
            .map(|one| match one {
                Met::Known(id) => format!("known {id}"),
                Met::Entering(one) if one.ordinal == 0 => format!("new {}", one.revision.id),
                Met::Entering(one) => format!("updated {} {}", one.revision.id, one.ordinal),
            })
            .collect()
    }

    #[test]
    fn tells_new_from_updated_from_known() {
        let mut catalogue = Catalogue::default();
        let met = catalogue.enter([revision("a", "1", "x"), revision("b", "1", "x")]);
        assert_eq!(told(&met), ["new deb:stable/a@1", "new deb:stable/b@1"]);
        let met = catalogue.enter([revision("a", "2", "x"), revision("b", "1", "x")]);
        assert_eq!(told(&met), ["updated deb:stable/a@2 1", "known deb:stable/b@1"]);
        let met = catalogue.enter([revision("a", "2", "other bytes")]);
        assert_eq!(told(&met), ["updated deb:stable/a@2#2 2"]);
        let met = catalogue.enter([revision("a", "2", "x")]);
        assert_eq!(told(&met), ["known deb:stable/a@2"], "going back releases nothing new");
    }

    #[test]
    fn two_releases_in_one_input_are_two_revisions() {
        let mut catalogue = Catalogue::default();
        let met = catalogue.enter([revision("a", "1", "x"), revision("a", "1", "y")]);
        assert_eq!(told(&met), ["new deb:stable/a@1", "updated deb:stable/a@1#2 1"]);
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
                prop_assert_eq!(catalogue.enter(input.clone()).len(), count);
                let again = catalogue.enter(input);
                prop_assert!(again.iter().all(|one| matches!(one, Met::Known(_))));
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
