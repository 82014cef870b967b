use std::fs;
use std::time::Duration;

use bytes::Bytes;

use super::{new_store, reopen, sample};
use crate::store::manifest::{Manifest, ManifestBuilder, PIECE_LENGTH};
use crate::store::{Error, PartialBlob};

const PIECE: usize = PIECE_LENGTH as usize;

fn manifest(bytes: &[u8]) -> Manifest {
    let mut builder = ManifestBuilder::new();
    builder.update(bytes);
    builder.finish()
}

fn write(partial: &PartialBlob, bytes: &Bytes, pieces: impl IntoIterator<Item = usize>) {
    for piece in pieces {
        let part = &bytes[piece * PIECE..bytes.len().min((piece + 1) * PIECE)];
        assert!(partial.write_piece(piece as u64, part).unwrap());
        assert!(!partial.write_piece(piece as u64, part).unwrap());
    }
}

#[tokio::test]
async fn any_order_and_readable_meanwhile() {
    let (_folder, store) = new_store();
    let bytes = sample(4 * PIECE + 5);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, [4, 1]);
    assert_eq!(partial.received(), PIECE_LENGTH + 5);
    assert_eq!(partial.missing(), [0..1, 2..4]);
    let at = PIECE_LENGTH + 100;
    assert_eq!(partial.read(at, 50).await.unwrap(), bytes[at as usize..][..50]);
    let absent = partial.read(PIECE_LENGTH - 1, 2).await;
    assert!(matches!(absent, Err(Error::Range { .. })));
    assert!(matches!(partial.finish(), Err(Error::Incomplete { missing: 3, .. })));
    assert!(!store.has(&manifest.digest()).unwrap());
    let other_handle = store.partial(&manifest).unwrap();
    write(&other_handle, &bytes, [0, 2, 3]);
    assert!(partial.is_full());
    partial.finish().unwrap();
    partial.finish().unwrap();
    assert_eq!(store.get_blob(&manifest.digest()).unwrap(), Some(bytes.clone()));
    assert_eq!(partial.read(0, bytes.len() as u64).await.unwrap(), bytes);
    assert!(store.resume(&manifest.digest()).unwrap().is_none());
}

#[test]
fn wrong_bytes_are_never_written() {
    let (_folder, store) = new_store();
    let bytes = sample(2 * PIECE + 5);
    let partial = store.partial(&manifest(&bytes)).unwrap();
    let mut wrong = bytes[..PIECE].to_vec();
    wrong[77] ^= 1;
    assert!(matches!(partial.write_piece(0, &wrong), Err(Error::Manifest(_))));
    assert!(partial.write_piece(3, &[]).is_err());
    assert!(partial.write_piece(2, &bytes[..6]).is_err());
    assert_eq!(partial.received(), 0);
}

#[test]
fn resumes_from_the_last_checkpoint() {
    let (_folder, store) = new_store();
    let bytes = sample(40 * PIECE + 1);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, 0..23);
    assert!(!partial.checkpoint_due());
    write(&partial, &bytes, 23..32);
    assert!(partial.checkpoint_due());
    partial.checkpoint().unwrap();
    assert!(!partial.checkpoint_due());
    write(&partial, &bytes, [35]);
    drop(partial);
    let store = reopen(store);
    assert_eq!(store.partial_blobs().unwrap(), [manifest.digest()]);
    let partial = store.resume(&manifest.digest()).unwrap().unwrap();
    assert_eq!(partial.missing(), [32..41]);
    write(&partial, &bytes, 32..41);
    partial.finish().unwrap();
    drop(partial);
    let store = reopen(store);
    assert!(store.verify_blob(&manifest.digest(), |_| ()).unwrap().is_good());
    assert!(store.partial_blobs().unwrap().is_empty());
}

#[test]
fn a_blob_renamed_but_not_recorded_is_named_at_open() {
    let (_folder, store) = new_store();
    let bytes = sample(2 * PIECE);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, 0..2);
    let name = manifest.digest().to_string();
    let from = store.path().join("incoming").join(format!("{name}.pieces"));
    let shard = store.path().join("blobs").join(&name[..2]);
    fs::create_dir_all(&shard).unwrap();
    fs::rename(from, shard.join(&name)).unwrap();
    drop(partial);
    let store = reopen(store);
    assert_eq!(store.get_blob(&manifest.digest()).unwrap(), Some(bytes));
}

#[test]
fn a_blob_renamed_although_not_whole_is_taken_back() {
    let (_folder, store) = new_store();
    let bytes = sample(3 * PIECE);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, [0, 2]);
    let name = manifest.digest().to_string();
    let from = store.path().join("incoming").join(format!("{name}.pieces"));
    fs::rename(from, store.path().join("blobs").join(&name[..2]).join(&name)).unwrap();
    drop(partial);
    let store = reopen(store);
    let partial = store.resume(&manifest.digest()).unwrap().unwrap();
    assert_eq!(partial.missing(), [1..2]);
    write(&partial, &bytes, [1]);
    partial.finish().unwrap();
    assert_eq!(store.get_blob(&manifest.digest()).unwrap(), Some(bytes));
}

#[test]
fn a_crash_costs_a_bounded_number_of_bytes() {
    let (_folder, store) = new_store();
    // Nobody asks whether a checkpoint is due.
    let bytes = sample(120 * PIECE);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, 0..119);
    drop(partial);
    let store = reopen(store);
    let partial = store.resume(&manifest.digest()).unwrap().unwrap();
    let lost = 119 * PIECE_LENGTH - partial.received();
    assert!(lost <= 48 << 20, "{lost} bytes come again");
}

#[tokio::test]
async fn only_bad_pieces_of_a_damaged_blob_come_again() {
    let (_folder, store) = new_store();
    let bytes = sample(3 * PIECE + 9);
    let digest = store.put_blob(&bytes).unwrap();
    let manifest = store.manifest(&digest).unwrap().unwrap();
    let reader = store.open_blob(&digest).unwrap().unwrap();
    assert!(store.unname_damaged(&digest, &[1]).unwrap());
    assert!(!store.unname_damaged(&digest, &[1]).unwrap());
    assert!(!store.has(&digest).unwrap());
    // Whoever reads it already goes on.
    assert_eq!(reader.read(0, 5).await.unwrap(), bytes[..5]);
    let store = {
        drop(reader);
        reopen(store)
    };
    let partial = store.resume(&digest).unwrap().unwrap();
    assert_eq!(partial.missing(), [1..2]);
    assert_eq!(partial.manifest(), &manifest);
    write(&partial, &bytes, [1]);
    partial.finish().unwrap();
    assert_eq!(store.get_blob(&digest).unwrap(), Some(bytes));
    for one in [sample(100), sample(100_000)] {
        let digest = store.put_blob(&one).unwrap();
        assert!(store.unname_damaged(&digest, &[0]).unwrap());
        assert!(!store.has(&digest).unwrap());
        assert!(store.resume(&digest).unwrap().is_none());
    }
}

#[test]
fn discarded_is_gone() {
    let (_folder, store) = new_store();
    let bytes = sample(2 * PIECE);
    let manifest = manifest(&bytes);
    let partial = store.partial(&manifest).unwrap();
    write(&partial, &bytes, [1]);
    store.discard_partial(&manifest.digest()).unwrap();
    assert!(store.resume(&manifest.digest()).unwrap().is_none());
    assert_eq!(fs::read_dir(store.path().join("incoming")).unwrap().count(), 0);
}

#[tokio::test]
async fn many_wait_for_a_piece() {
    let (_folder, store) = new_store();
    let bytes = sample(3 * PIECE);
    let partial = store.partial(&manifest(&bytes)).unwrap();
    let waiting: Vec<_> = (0..300)
        .map(|index| {
            let partial = partial.clone();
            tokio::spawn(async move { partial.arrival(index % 3).await })
        })
        .collect();
    for piece in [2, 0, 1] {
        let (partial, bytes) = (partial.clone(), bytes.clone());
        tokio::task::spawn_blocking(move || write(&partial, &bytes, [piece])).await.unwrap();
    }
    for task in waiting {
        tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}
