use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use futures_util::TryStreamExt;
use patchmesh_topology::digest::Digest;

use super::{SmallDisk, new_store, reopen, sample};
use crate::store::manifest::PIECE_LENGTH;
use crate::store::{Error, ImportOptions, Mode, NODE, Progress, Store, Totals};

const PIECE: usize = PIECE_LENGTH as usize;

/// Lengths around the limits of small blobs and of pieces.
const LENGTHS: [usize; 8] = [0, 1, 65_536, 65_537, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7];

fn file_of(store: &Store, digest: &Digest) -> std::path::PathBuf {
    let name = digest.to_string();
    store.path().join("blobs").join(&name[..2]).join(name)
}

async fn import(store: &Store, bytes: &Bytes, options: ImportOptions) -> Result<Digest, Error> {
    let mut writer = store.import(options);
    for part in bytes.chunks(70_001) {
        writer.write(Bytes::copy_from_slice(part)).await?;
    }
    let imported = writer.finish().await?;
    assert_eq!(imported.length, bytes.len() as u64);
    if options.sha256 {
        let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
        assert_eq!(imported.sha256.unwrap().as_bytes(), expected.as_ref());
    }
    Ok(imported.digest)
}

#[tokio::test]
async fn come_back_as_they_were() {
    let (_folder, store) = new_store();
    let mut totals = Totals::default();
    for length in LENGTHS {
        let bytes = sample(length);
        let options = ImportOptions { sha256: true, limit: Some(length as u64) };
        let digest = import(&store, &bytes, options).await.unwrap();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(store.put_blob(&bytes).unwrap(), digest);
        totals.blobs += 1;
        totals.bytes += length as u64;
    }
    let store = reopen(store);
    assert_eq!(store.totals().unwrap(), totals);
    for length in LENGTHS {
        let bytes = sample(length);
        let digest = Digest::of(&bytes);
        assert_eq!(store.get_blob(&digest).unwrap(), Some(bytes.clone()));
        assert_eq!(store.manifest(&digest).unwrap().unwrap().digest(), digest);
        let reader = store.open_blob(&digest).unwrap().unwrap();
        let middle = length as u64 / 3..length as u64;
        let parts: Vec<Bytes> = reader.stream(middle.clone()).try_collect().await.unwrap();
        assert_eq!(parts.concat(), bytes[middle.start as usize..]);
        assert!(store.verify_blob(&digest, |_| ()).unwrap().is_good());
    }
    assert_eq!(fs::read_dir(store.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn beyond_the_end_is_an_error() {
    let (_folder, store) = new_store();
    for length in [10, 100_000] {
        let digest = store.put_blob(&sample(length)).unwrap();
        let reader = store.open_blob(&digest).unwrap().unwrap();
        let error = reader.read(5, length as u64).await.unwrap_err();
        assert!(matches!(error, Error::Range { .. }), "{error}");
        assert!(reader.read(u64::MAX, 2).await.is_err());
    }
}

#[test]
fn verification_names_the_bad_piece() {
    let (_folder, store) = new_store();
    let digest = store.put_blob(&sample(4 * PIECE + 9)).unwrap();
    let file = OpenOptions::new().write(true).open(file_of(&store, &digest)).unwrap();
    file.write_all_at(b"!", PIECE_LENGTH + 17).unwrap();
    let mut last = None;
    let found = store.verify_blob(&digest, |progress| last = Some(progress)).unwrap();
    assert_eq!(found.bad_pieces, [1]);
    let length = 4 * PIECE_LENGTH + 9;
    assert_eq!(last, Some(Progress { done: length, length }));
    file.set_len(3 * PIECE_LENGTH).unwrap();
    assert_eq!(store.verify_blob(&digest, |_| ()).unwrap().bad_pieces, [1, 3, 4]);
    fs::remove_file(file_of(&store, &digest)).unwrap();
    assert_eq!(store.verify_blob(&digest, |_| ()).unwrap().bad_pieces, [0, 1, 2, 3, 4]);
    let unknown = store.verify_blob(&Digest::of(b"unknown"), |_| ());
    assert!(matches!(unknown, Err(Error::NotHeld(_))));
}

#[test]
fn removed_is_gone_but_open_readers_go_on() {
    let (_folder, store) = new_store();
    for length in [100, 100_000] {
        let bytes = sample(length);
        let digest = store.put_blob(&bytes).unwrap();
        let reader = store.open_blob(&digest).unwrap().unwrap();
        assert!(store.remove_blob(&digest).unwrap());
        assert!(!store.remove_blob(&digest).unwrap());
        assert!(!store.has(&digest).unwrap() && !file_of(&store, &digest).exists());
        assert_eq!(reader.read_at(0, length as u64).unwrap(), bytes);
    }
    assert_eq!(store.totals().unwrap(), Totals::default());
}

#[tokio::test]
async fn abandoned_import_leaves_nothing() {
    let (_folder, store) = new_store();
    let incoming = store.path().join("incoming");
    let mut writer = store.import(ImportOptions::default());
    writer.write(sample(2 * PIECE)).await.unwrap();
    drop(writer);
    let limited = ImportOptions { limit: Some(1000), ..ImportOptions::default() };
    let error = import(&store, &sample(1_000_000), limited).await.unwrap_err();
    assert!(matches!(error, Error::TooMuch { limit: 1000 }), "{error}");
    // The store closes once the writing thread has let go of it.
    let path = store.path().to_owned();
    drop(store);
    let store = loop {
        match Store::open(&path, Mode::Existing) {
            Err(Error::InUse { .. }) => tokio::task::yield_now().await,
            result => break result.unwrap(),
        }
    };
    assert_eq!(fs::read_dir(incoming).unwrap().count(), 0);
    assert_eq!(store.totals().unwrap(), Totals::default());
}

#[tokio::test]
async fn full_disk_is_told_and_leaves_room_for_control() {
    let Some(disk) = SmallDisk::new("48m") else { return };
    let store = Store::open(&disk.path().join("data"), Mode::Create).unwrap();
    let error = import(&store, &sample(64 * PIECE), ImportOptions::default()).await.unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(fs::read_dir(store.path().join("incoming")).unwrap().count(), 0);
    let bytes = sample(8 * PIECE);
    let manifest = {
        let (_other, other) = new_store();
        let digest = other.put_blob(&sample(64 * PIECE)).unwrap();
        other.manifest(&digest).unwrap().unwrap()
    };
    let error = store.partial(&manifest).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    store.put(&NODE, "control", &Bytes::from_static(b"still works")).unwrap();
    let digest = import(&store, &bytes, ImportOptions::default()).await.unwrap();
    assert!(store.has(&digest).unwrap());
}
