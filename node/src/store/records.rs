//! What only the primary has beside the signed documents, whole and raw: for
//! a node that stands by to take its place.

use std::ops::RangeInclusive;

use super::database::{Order, Space};
use super::{Error, Store, Tag, Transaction};

/// Tags of such tables: join tokens, sources, their states, and those of the
/// primary's later parts; without what feeds and advisories said, which is
/// much and comes again.
const PRIMARY: [RangeInclusive<u8>; 3] = [
    Tag::JoinToken as u8..=Tag::SourceState as u8,
    20..=Tag::VulnerabilityFacts as u8 - 1,
    Tag::Statement as u8 + 1..=35,
];

/// A record as it is stored: key and value.
pub type RawRecord = (Vec<u8>, Vec<u8>);

impl Store {
    /// Every record of the primary's own tables.
    ///
    /// # Errors
    /// [`Error::TooMuch`] when they are more than `limit` bytes together, or a
    /// failing disk.
    pub fn primary_records(&self, limit: u64) -> Result<Vec<RawRecord>, Error> {
        let (mut records, mut bytes) = (Vec::new(), 0);
        for tag in PRIMARY.into_iter().flatten() {
            self.database().scan(Space::Records, &[tag], Order::Forward, |key, value| {
                bytes += (key.len() + value.len()) as u64;
                if bytes > limit {
                    return Err(Error::TooMuch { limit });
                }
                records.push((key.to_vec(), value.to_vec()));
                Ok(true)
            })?;
        }
        Ok(records)
    }
}

impl Transaction {
    /// Writes records of the primary's own tables as they came from it, in
    /// the place of those that are here. Records of other tables are left out.
    ///
    /// # Errors
    /// A failing disk.
    pub fn replace_primary_records(&mut self, records: Vec<RawRecord>) -> Result<&mut Self, Error> {
        for (key, _) in self.store().primary_records(u64::MAX)? {
            self.delete_raw(key);
        }
        for (key, value) in records {
            let tag = key.first().copied().unwrap_or_default();
            if PRIMARY.iter().any(|tags| tags.contains(&tag)) {
                self.put_raw(key, value);
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::super::{Mode, NODE, Table};
    use super::*;

    static SOURCES: Table<str, Bytes> = Table::new(Tag::Source, 1);

    #[test]
    fn the_primarys_records_and_no_others_are_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| Store::open(&folder.path().join(name), Mode::Create).unwrap();
        let (primary, standby) = (open("a"), open("b"));
        primary.put(&SOURCES, "vendor", &Bytes::from_static(b"here")).unwrap();
        primary.put(&NODE, "fact", &Bytes::from_static(b"mine")).unwrap();
        standby.put(&SOURCES, "gone", &Bytes::from_static(b"old")).unwrap();
        standby.put(&NODE, "fact", &Bytes::from_static(b"own")).unwrap();
        let mut records = primary.primary_records(1 << 20).unwrap();
        assert_eq!(records.len(), 1);
        assert!(matches!(primary.primary_records(5), Err(Error::TooMuch { .. })));
        // One that has no business there.
        records.push((vec![Tag::Node as u8, b'x'], vec![1]));
        let mut transaction = standby.transaction();
        transaction.replace_primary_records(records).unwrap();
        transaction.commit().unwrap();
        assert_eq!(standby.get(&SOURCES, "vendor").unwrap().unwrap(), "here");
        assert_eq!(standby.get(&SOURCES, "gone").unwrap(), None);
        assert_eq!(standby.get(&NODE, "fact").unwrap().unwrap(), "own");
        assert_eq!(standby.get(&NODE, "x").unwrap(), None);
    }
}
