//! What replaces what.
//!
//! A newer revision of an update replaces the older ones: for Debian packages
//! by their versions, else by the order of entry. Besides, a vendor states what
//! a revision contains ([`Facts::supersedes`](crate::revision::Facts)). The
//! relation is transitive through revisions that are looked at together; a
//! circle, which no entrance lets in, replaces nothing.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::debian::version;
use crate::revision::{Revision, RevisionId, UpdateId};

/// A revision and its place among those of its update.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The revision.
    pub revision: &'a Revision,
    /// How many revisions of the update came before it.
    pub ordinal: u32,
}

/// How `a` stands to `b`, both of one update: [`Ordering::Greater`] when newer.
#[must_use]
pub fn newer(a: Entry<'_>, b: Entry<'_>) -> Ordering {
    let (id_a, id_b) = (&a.revision.id, &b.revision.id);
    if a.revision.has_packages() && b.revision.has_packages() {
        return version::compare(&id_a.version, &id_b.version)
            .then_with(|| id_a.release.cmp(&id_b.release));
    }
    a.ordinal.cmp(&b.ordinal)
}

/// What of `entries` is replaced by others of them, and by which: the end of a
/// chain that leads there, so that it is not replaced itself. What is in a
/// circle that no chain leads out of is not replaced.
#[must_use]
pub fn superseded<'a>(entries: &[Entry<'a>]) -> BTreeMap<&'a RevisionId, &'a RevisionId> {
    let by = replacements(entries);
    let mut replaced_by: BTreeMap<&RevisionId, Vec<&RevisionId>> = BTreeMap::new();
    for (old, news) in &by {
        news.iter().for_each(|new| replaced_by.entry(*new).or_default().push(*old));
    }
    // From each end back along its chains, every revision once.
    let mut ends = BTreeMap::new();
    for end in replaced_by.keys().rev().filter(|new| !by.contains_key(**new)) {
        let mut waiting = vec![*end];
        while let Some(one) = waiting.pop() {
            for old in replaced_by.get(one).into_iter().flatten() {
                if !ends.contains_key(old) {
                    ends.insert(*old, *end);
                    waiting.push(*old);
                }
            }
        }
    }
    ends
}

type Replacements<'a> = BTreeMap<&'a RevisionId, BTreeSet<&'a RevisionId>>;

/// What replaces each at first hand.
fn replacements<'a>(entries: &[Entry<'a>]) -> Replacements<'a> {
    let mut by = Replacements::new();
    let mut updates: HashMap<&UpdateId, Vec<Entry<'a>>> = HashMap::new();
    for entry in entries {
        updates.entry(&entry.revision.id.update).or_default().push(*entry);
    }
    for siblings in updates.values().filter(|siblings| siblings.len() > 1) {
        let better = |best, one| if newer(one, best).is_gt() { one } else { best };
        let Some(newest) = siblings.iter().copied().reduce(better) else { continue };
        for older in siblings.iter().filter(|one| newer(**one, newest).is_lt()) {
            by.entry(&older.revision.id).or_default().insert(&newest.revision.id);
        }
    }
    for revision in entries.iter().map(|entry| entry.revision) {
        // A reference names one update, so only its revisions are looked at.
        let named = revision.facts.supersedes.iter().filter_map(|one| updates.get(&one.update));
        for other in named.flatten().map(|other| other.revision) {
            // Within an update its own order counts.
            if revision.supersedes(&other.id) && other.id.update != revision.id.update {
                by.entry(&other.id).or_default().insert(&revision.id);
            }
        }
    }
    by
}

/// `entries` without what others of them replace.
#[must_use]
pub fn effective<'a>(entries: &[Entry<'a>]) -> Vec<Entry<'a>> {
    let replaced = superseded(entries);
    entries.iter().filter(|one| !replaced.contains_key(&one.revision.id)).copied().collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, prop_assert, proptest};

    use super::*;
    use crate::digest::Sha256;
    use crate::revision::{Facts, Payload};

    fn revision(id: &str, supersedes: &[&str]) -> Revision {
        let supersedes = supersedes.iter().map(|one| one.parse().expect("a reference")).collect();
        Revision {
            id: id.parse().expect("a revision"),
            title: String::new(),
            description: String::new(),
            architectures: Vec::new(),
            payloads: Vec::new(),
            facts: Facts { supersedes, ..Facts::default() },
        }
    }

    fn debian(id: &str) -> Revision {
        let mut revision = revision(id, &[]);
        revision.payloads.push(Payload {
            package: "x".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            component: "main".to_owned(),
            filename: "x.deb".to_owned(),
            length: 1,
            sha256: Sha256::from_bytes([0; 32]),
            control: "Package: x\n".to_owned(),
            language: String::new(),
            place: None,
        });
        revision
    }

    fn left(revisions: &[Revision]) -> Vec<String> {
        let entries: Vec<_> =
            (0..).zip(revisions).map(|(ordinal, revision)| Entry { revision, ordinal }).collect();
        effective(&entries).iter().map(|one| one.revision.id.to_string()).collect()
    }

    #[test]
    fn debian_versions_count_and_elsewhere_the_order_of_entry() {
        let found = left(&[debian("v:s/a@1.10-1"), debian("v:s/a@1.9-1"), debian("v:s/b@1")]);
        assert_eq!(found, ["v:s/a@1.10-1", "v:s/b@1"]);
        let found = left(&[revision("v:s/a@1.10", &[]), revision("v:s/a@1.9", &[])]);
        assert_eq!(found, ["v:s/a@1.9"]);
        let found = left(&[debian("v:s/a@1#2"), debian("v:s/a@1")]);
        assert_eq!(found, ["v:s/a@1#2"]);
    }

    #[test]
    fn a_cumulative_update_replaces_what_it_names_and_so_on() {
        let found = left(&[
            revision("w:x/kb1@1", &[]),
            revision("w:x/kb2@1", &["w:x/kb1"]),
            revision("w:x/kb3@1", &["w:x/kb2@1"]),
            revision("w:x/kb4@1", &["w:x/kb1@7"]),
        ]);
        assert_eq!(found, ["w:x/kb3@1", "w:x/kb4@1"]);
        let (a, b) = (revision("w:x/kb1@1", &[]), revision("w:x/kb2@1", &["w:x/kb1"]));
        let c = revision("w:x/kb3@1", &["w:x/kb2"]);
        let entries = [&a, &b, &c].map(|revision| Entry { revision, ordinal: 0 });
        assert_eq!(superseded(&entries)[&a.id], &c.id, "the last of the chain");
    }

    #[test]
    fn a_circle_replaces_nothing() {
        let found =
            left(&[revision("w:x/kb1@1", &["w:x/kb2"]), revision("w:x/kb2@1", &["w:x/kb1"])]);
        assert_eq!(found.len(), 2);
    }

    fn revisions() -> impl Strategy<Value = Vec<Revision>> {
        let one = ("[a-c]", "[1-3]", vec("[a-c]", 0..2)).prop_map(|(name, version, names)| {
            let names: Vec<String> = names.iter().map(|name| format!("v:s/{name}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            revision(&format!("v:s/{name}@{version}"), &names)
        });
        vec(one, 0..6).prop_map(|mut all| {
            all.sort_by(|a, b| a.id.cmp(&b.id));
            all.dedup_by(|a, b| a.id == b.id);
            all
        })
    }

    proptest! {
        #[test]
        fn what_replaces_stays(revisions in revisions()) {
            let entries: Vec<_> = (0..).zip(&revisions)
                .map(|(ordinal, revision)| Entry { revision, ordinal }).collect();
            let replaced = superseded(&entries);
            for (old, new) in &replaced {
                prop_assert!(old != new && !replaced.contains_key(new));
            }
            prop_assert!(revisions.is_empty() || replaced.len() < revisions.len());
            // Doing it twice changes nothing.
            let left = effective(&entries);
            prop_assert!(effective(&left).len() == left.len());
        }
    }
}
