use bytes::Bytes;

use super::{new_store, reopen, sample};
use crate::store::{Error, NODE, Table, Tag};

const NUMBERS: Table<u64, String> = Table::new(Tag::Generation, 1);

#[test]
fn reads_what_was_written_in_order() {
    let (_folder, store) = new_store();
    for number in [300, 2, 70_000] {
        store.put(&NUMBERS, &number, &number.to_string()).unwrap();
    }
    store.put(&NODE, "b", &Bytes::from_static(b"2")).unwrap();
    store.put(&NODE, "a/1", &Bytes::from_static(b"1")).unwrap();
    let store = reopen(store);
    let keys: Vec<u64> = store.scan(&NUMBERS).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [2, 300, 70_000]);
    assert_eq!(store.last(&NUMBERS).unwrap(), Some((70_000, "70000".to_owned())));
    assert_eq!(store.scan_prefix(&NODE, "a/").unwrap().len(), 1);
    store.delete(&NUMBERS, &70_000).unwrap();
    assert_eq!(store.get(&NUMBERS, &70_000).unwrap(), None);
    assert_eq!(store.last(&NUMBERS).unwrap().unwrap().0, 300);
}

#[test]
fn another_version_is_named() {
    let (_folder, store) = new_store();
    store.put(&NUMBERS, &1, &"one".to_owned()).unwrap();
    let later: Table<u64, String> = Table::new(Tag::Generation, 2);
    let error = store.get(&later, &1).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::RecordVersion { found: 1, known: 2, .. }), "{text}");
    assert!(text.contains("generation"));
}

#[test]
fn transaction_is_seen_at_once() {
    let (_folder, store) = new_store();
    let (small, large) = (sample(10), sample(100_000));
    let mut transaction = store.transaction();
    transaction.put(&NODE, "current", &Bytes::from_static(b"7"));
    let small = transaction.put_blob(&small).unwrap();
    let large = transaction.put_blob(&large).unwrap();
    assert!(!store.has(&small).unwrap() && store.get(&NODE, "current").unwrap().is_none());
    transaction.commit().unwrap();
    let store = reopen(store);
    assert!(store.has(&small).unwrap() && store.has(&large).unwrap());
    assert!(store.get(&NODE, "current").unwrap().is_some());
}
