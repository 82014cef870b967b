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
