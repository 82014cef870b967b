//! Reading sets: whole, or only what changed since an earlier one.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_topology::partition::{Place, Prefix, check_cover};
use patchmesh_topology::revision::DocumentRef;
use prost::bytes::Bytes;

use super::{Error, Kind, open};
use crate::convert::{self, At, Fault};
use crate::document::{Document, decode, reference};
use crate::wire;

pub(super) type Contents<K> = BTreeMap<<K as Kind>::Key, <K as Kind>::Value>;

/// A set that was read before, so that only what has changed is read again.
#[derive(Debug)]
pub struct Before<'a, C> {
    /// Its index document.
    pub index: &'a Bytes,
    /// What was read from it.
    pub contents: &'a C,
}

pub(super) fn read_after<K: Kind>(
    before: Option<Before<'_, Contents<K>>>,
    index: &wire::Index,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Contents<K>, Error>
where
    K::Key: Clone,
    K::Value: Clone,
{
    match before {
        Some(before) => match change::<K>(before, index, &lookup)? {
            Some(contents) => Ok(contents),
            None => read::<K>(index, lookup),
        },
        None => read::<K>(index, lookup),
    }
}

/// What an index leads to, when the partitions that are the same in `before` are
/// not read again; `None` where that does not help or is not possible.
fn change<K: Kind>(
    before: Before<'_, Contents<K>>,
    index: &wire::Index,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Option<Contents<K>>, Error>
where
    K::Key: Clone,
    K::Value: Clone,
{
    if index.partition_kind != K::Partition::KIND {
        return Ok(None);
    }
    let old: BTreeSet<_> = divide(&open(before.index)?)?.into_iter().collect();
    let new: BTreeSet<_> = divide(index)?.into_iter().collect();
    let (gone, come): (Vec<_>, Vec<_>) =
        (old.difference(&new).collect(), new.difference(&old).collect());
    if come.len() * 2 > new.len() {
        return Ok(None);
    }
    let mut contents = before.contents.clone();
    for (prefix, document) in gone {
        // Whoever keeps no earlier partitions reads all anew.
        let Some(stored) = lookup(document) else { return Ok(None) };
        let mut removed = BTreeMap::new();
        read_partition::<K>(*prefix, *document, &stored, &mut removed)?;
        removed.keys().for_each(|key| drop(contents.remove(key)));
    }
    for (prefix, document) in come {
        let (prefix, document) = (*prefix, *document);
        let stored = lookup(&document).ok_or(Error::Absent { prefix, document })?;
        read_partition::<K>(prefix, document, &stored, &mut contents)?;
    }
    check_count(index, contents.len()).map(|()| Some(contents))
}

pub(super) fn read<K: Kind>(
    index: &wire::Index,
    lookup: impl Fn(&DocumentRef) -> Option<Bytes>,
) -> Result<Contents<K>, Error> {
    if index.partition_kind != K::Partition::KIND {
        return Err(Error::OtherSet {
            expected: K::Partition::KIND,
            actual: index.partition_kind.chars().take(64).collect(),
        });
    }
    let mut contents = BTreeMap::new();
    for (prefix, document) in divide(index)? {
        let stored = lookup(&document).ok_or(Error::Absent { prefix, document })?;
        read_partition::<K>(prefix, document, &stored, &mut contents)?;
    }
    check_count(index, contents.len()).map(|()| contents)
}

fn check_count(index: &wire::Index, found: usize) -> Result<(), Error> {
    let found = found as u64;
    if found == index.entries {
        Ok(())
    } else {
        Err(Error::Count { promised: index.entries, found })
    }
}

/// The partitions of an index, which cover every key once.
pub(super) fn divide(index: &wire::Index) -> Result<Vec<(Prefix, DocumentRef)>, Error> {
    let partitions = index
        .partitions
        .iter()
        .enumerate()
        .map(|(position, partition)| {
            let prefix = partition.prefix.parse::<Prefix>().map_err(Error::Cover)?;
            let document = partition.document.clone().ok_or(Fault::Missing);
            let document = document
                .map_err(convert::Error::from)
                .and_then(DocumentRef::try_from)
                .at(&format!("partitions[{position}].document"))
                .map_err(Error::IndexField)?;
            Ok((prefix, document))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    check_cover(partitions.iter().map(|(prefix, _)| *prefix)).map_err(Error::Cover)?;
    Ok(partitions)
}

fn read_partition<K: Kind>(
    prefix: Prefix,
    expected: DocumentRef,
    stored: &Bytes,
    contents: &mut Contents<K>,
) -> Result<(), Error> {
    let actual = reference(stored);
    if actual != expected {
        return Err(Error::OtherBytes { prefix, expected, actual });
    }
    let partition: K::Partition =
        decode(stored).map_err(|source| Error::Partition { prefix, source })?;
    let field = |source| Error::Field { prefix, source };
    let entries = convert::each("entries", K::split(partition), K::from_entry).map_err(field)?;
    for (key, _) in &entries {
        let key = K::partition_key(key);
        if !prefix.covers(Place::of(&key)) {
            return Err(Error::Foreign { prefix, key });
        }
    }
    // Prefixes do not overlap, so no key of one partition is in another.
    contents.extend(convert::sorted::<_, _, Vec<_>>("entries", entries).map_err(field)?);
    Ok(())
}
