use std::fs;

use tempfile::TempDir;

use super::{SmallDisk, new_store, reopen, sample};
use crate::store::{Error, Mode, Store};

#[test]
fn is_made_and_opened() {
    let (folder, store) = new_store();
    let digest = store.put_blob(&sample(100)).unwrap();
    let store = reopen(store);
    assert!(store.has(&digest).unwrap());
    drop(store);
    let again = Store::open(&folder.path().join("data"), Mode::Create);
    assert!(matches!(again, Err(Error::AlreadyExists { .. })));
}

#[test]
fn twice_says_by_whom() {
    let (_folder, store) = new_store();
    let error = Store::open(store.path(), Mode::Existing).unwrap_err();
    let Error::InUse { process, .. } = &error else { panic!("{error}") };
    assert_eq!(*process, Some(std::process::id()));
    assert!(error.to_string().contains(&std::process::id().to_string()));
}

#[test]
fn foreign_and_missing_are_refused_untouched() {
    let folder = TempDir::new().unwrap();
    let missing = Store::open(&folder.path().join("none"), Mode::Existing);
    assert!(matches!(missing, Err(Error::Missing { .. })));
    assert!(!folder.path().join("none").exists());
    let empty = Store::open(folder.path(), Mode::Existing);
    assert!(matches!(empty, Err(Error::Missing { .. })));
    fs::write(folder.path().join("photo.jpg"), "x").unwrap();
    for mode in [Mode::Create, Mode::Existing] {
        let error = Store::open(folder.path(), mode).unwrap_err();
        assert!(error.to_string().contains("photo.jpg"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn half_made_is_finished() {
    let (_folder, store) = new_store();
    let path = store.path().to_owned();
    drop(store);
    fs::remove_file(path.join("format")).unwrap();
    Store::open(&path, Mode::Create).unwrap();
}

#[test]
fn newer_and_damaged_markers_are_refused() {
    let (_folder, store) = new_store();
    let path = store.path().to_owned();
    drop(store);
    fs::write(path.join("format"), "patchmesh data folder\nformat 2\n").unwrap();
    let newer = Store::open(&path, Mode::Existing).unwrap_err();
    assert!(matches!(newer, Error::NewerFormat { found: 2, known: 1, .. }), "{newer}");
    for marker in ["", "patchmesh data folder\nformat x", "\u{0}"] {
        fs::write(path.join("format"), marker).unwrap();
        assert!(matches!(Store::open(&path, Mode::Existing), Err(Error::Marker { .. })));
    }
    fs::write(path.join("format"), [0xff, 0xfe]).unwrap();
    assert!(matches!(Store::open(&path, Mode::Existing), Err(Error::Marker { .. })));
}

#[test]
fn read_only_disk() {
    let Some(disk) = SmallDisk::new("64m") else { return };
    drop(Store::open(&disk.path().join("data"), Mode::Create).unwrap());
    disk.make_read_only();
    for (path, mode) in [("data", Mode::Existing), ("other", Mode::Create)] {
        let error = Store::open(&disk.path().join(path), mode).unwrap_err();
        assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
    }
}

#[test]
fn crash_leftovers_are_swept() {
    let (_folder, store) = new_store();
    let incoming = store.path().join("incoming");
    fs::write(incoming.join(".tmpabc.import"), "half").unwrap();
    fs::write(incoming.join("00.pieces"), "no journal").unwrap();
    let _store = reopen(store);
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
}

#[test]
fn a_data_folder_is_known_by_its_marker_whatever_else_is_in_it() {
    let (_folder, store) = new_store();
    let path = store.path().to_owned();
    drop(store);
    for name in ["aaa", "identity", "zzz"] {
        std::fs::create_dir(path.join(name)).unwrap();
    }
    let again = Store::open(&path, Mode::Create);
    assert!(matches!(again, Err(Error::AlreadyExists { .. })), "{again:?}");
}
