//! When sites came to the content of rollouts that had begun, so that nobody
//! takes their machines for unreachable meanwhile.
//!
//! Kept on the disk: a primary that restarts counts as before.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use patchmesh_proto::convert::{optional_time, timestamp_to_wire};
use patchmesh_topology::name::{RolloutName, Site};
use patchmesh_topology::rollout::plan::Arrival;
use patchmesh_topology::view::awaited::ByNode;

use super::counting::started;
use crate::generation::Generation;
use crate::store::{self, Store, Table, Tag};

/// By rollout and site, with a blank between them. Neither has one in it.
static ARRIVALS: Table<str, ArrivalRecord> = Table::new(Tag::ContentArrival, 1);

#[derive(Clone, PartialEq, prost::Message)]
struct ArrivalRecord {
    /// Unset while it is awaited.
    #[prost(message, optional, tag = "1")]
    at: Option<prost_types::Timestamp>,
}

type Key = (RolloutName, Site);
type Known = BTreeMap<RolloutName, BTreeMap<Site, Arrival>>;

/// What is known of the rollouts that were started.
#[derive(Debug)]
pub(super) struct Arrivals {
    store: Store,
    known: Known,
}

impl Arrivals {
    /// Goes on with what was known. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn open(store: &Store) -> Result<Self, store::Error> {
        let read = |(key, record): (String, ArrivalRecord)| {
            let (rollout, site) = key.split_once(' ')?;
            // What an older version cannot read makes nobody wait.
            let arrival = match optional_time(record.at).ok()? {
                None => Arrival::Awaited,
                Some(at) => Arrival::At(at),
            };
            Some((rollout.parse().ok()?, site.parse().ok()?, arrival))
        };
        let mut known = Known::new();
        for (rollout, site, arrival) in store.scan(&ARRIVALS)?.into_iter().filter_map(read) {
            known.entry(rollout).or_default().insert(site, arrival);
        }
        Ok(Self { store: store.clone(), known })
    }

    /// Takes note of what nodes await now.
    ///
    /// # Errors
    /// The store's; the same is noted again next time.
    pub(super) async fn follow(
        &mut self,
        generation: &Generation,
        nodes: &ByNode,
        now: Timestamp,
    ) -> Result<(), store::Error> {
        let begun: BTreeSet<&RolloutName> = started(generation).map(|one| &one.name).collect();
        let mut awaited: BTreeSet<Key> = BTreeSet::new();
        for (name, lacks) in nodes {
            let Some(node) = generation.mesh.node(name) else { continue };
            let theirs = lacks.iter().filter(|(rollout, _)| begun.contains(rollout));
            awaited.extend(theirs.map(|(rollout, _)| (rollout.clone(), node.site.clone())));
        }
        let changes = changes(&self.known, &awaited, |rollout| begun.contains(rollout), now);
        if changes.is_empty() {
            return Ok(());
        }
        let written = changes.clone();
        self.store.run(move |store| write(store, &written)).await?;
        self.known.retain(|rollout, _| begun.contains(rollout));
        for ((rollout, site), arrival) in changes {
            if let Some(arrival) = arrival {
                self.known.entry(rollout).or_default().insert(site, arrival);
            }
        }
        Ok(())
    }

    /// The sites that came late to the content of a rollout.
    pub(super) fn of(&self, rollout: &RolloutName) -> impl Iterator<Item = (&Site, Arrival)> {
        let sites = self.known.get(rollout).into_iter().flatten();
        sites.map(|(site, arrival)| (site, *arrival))
    }
}

/// What is known otherwise from now on; `None`: nothing any more.
fn changes(
    known: &Known,
    awaited: &BTreeSet<Key>,
    has_begun: impl Fn(&RolloutName) -> bool,
    now: Timestamp,
) -> BTreeMap<Key, Option<Arrival>> {
    let is_known = |(rollout, site): &Key| {
        let arrival = known.get(rollout).and_then(|sites| sites.get(site));
        arrival == Some(&Arrival::Awaited)
    };
    let begins = awaited.iter().filter(|key| !is_known(key));
    let begins = begins.map(|key| (key.clone(), Some(Arrival::Awaited)));
    let all = known.iter().flat_map(|(rollout, sites)| {
        sites.iter().map(|(site, arrival)| ((rollout.clone(), site.clone()), *arrival))
    });
    let ends = all.filter_map(|(key, arrival)| {
        if !has_begun(&key.0) {
            return Some((key, None));
        }
        let has_come = arrival == Arrival::Awaited && !awaited.contains(&key);
        has_come.then_some((key, Some(Arrival::At(now))))
    });
    begins.chain(ends).collect()
}

fn write(store: &Store, changes: &BTreeMap<Key, Option<Arrival>>) -> Result<(), store::Error> {
    let mut transaction = store.transaction();
    for ((rollout, site), arrival) in changes {
        let key = format!("{rollout} {site}");
        let at = match arrival {
            None => {
                transaction.delete(&ARRIVALS, &key);
                continue;
            }
            Some(Arrival::Awaited) => None,
            Some(Arrival::At(at)) => Some(timestamp_to_wire(*at)),
        };
        transaction.put(&ARRIVALS, &key, &ArrivalRecord { at });
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mode;

    #[test]
    fn what_came_when_outlives_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("data"), Mode::Create).expect("a store");
        let key = |rollout: &str, site: &str| -> Key {
            (rollout.parse().expect("a name"), site.parse().expect("a site"))
        };
        let (paris, lyon) = (key("spring", "emea/fr/paris"), key("spring", "emea/fr/lyon"));
        let at = |second| Timestamp::from_second(second).expect("a time");
        let step = |awaited: &[&Key], begun: bool, second| {
            let mut arrivals = Arrivals::open(&store).expect("opened");
            let awaited = awaited.iter().map(|key| (*key).clone()).collect();
            let changes = changes(&arrivals.known, &awaited, |_| begun, at(second));
            write(&store, &changes).expect("written");
            arrivals = Arrivals::open(&store).expect("opened");
            let of = arrivals.of(&paris.0);
            of.map(|(site, arrival)| (site.clone(), arrival)).collect::<Vec<_>>()
        };
        let is = |key: &Key, arrival| (key.1.clone(), arrival);
        assert_eq!(step(&[&paris], true, 1), [is(&paris, Arrival::Awaited)]);
        // It goes on being awaited until it is not; the moment stays.
        assert_eq!(step(&[&paris], true, 2), [is(&paris, Arrival::Awaited)]);
        let both = [is(&lyon, Arrival::Awaited), is(&paris, Arrival::At(at(3)))];
        assert_eq!(step(&[&lyon], true, 3), both);
        assert_eq!(step(&[&lyon], true, 4), both);
        // More is approved: it waits again.
        assert_eq!(step(&[&lyon, &paris], true, 5)[1], is(&paris, Arrival::Awaited));
        // A rollout that is there no more leaves nothing behind.
        assert!(step(&[], false, 6).is_empty());
    }
}
