//! Every step of the store fails once, and the world ends between any two.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use patchmesh_topology::digest::Digest;
use rustix::io::Errno;
use tempfile::TempDir;

use super::sample;
use crate::store::disk::faults::{Faults, Plan};
use crate::store::manifest::{Manifest, ManifestBuilder, PIECE_LENGTH};
use crate::store::{Error, Mode, NODE, Store};

const PIECE: usize = PIECE_LENGTH as usize;

/// A blob for each way into the store.
struct Samples {
    small: Bytes,
    imported: Bytes,
    received: Bytes,
    manifest: Manifest,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let received = sample(3 * PIECE + 7);
    let mut builder = ManifestBuilder::new();
    builder.update(&received);
    Samples {
        small: sample(100),
        imported: sample(PIECE + 5),
        manifest: builder.finish(),
        received,
    }
});

/// What the store has acknowledged.
#[derive(Default)]
struct Acknowledged {
    held: BTreeSet<Digest>,
    pieces: BTreeSet<u64>,
    record: bool,
}

/// Uses the store in every way; may be repeated after a failure.
fn work(store: &Store, done: &mut Acknowledged) -> Result<(), Error> {
    let all = &*SAMPLES;
    done.held.insert(store.put_blob(&all.small)?);
    store.put(&NODE, "fact", &Bytes::from_static(b"kept"))?;
    done.record = true;
    done.held.insert(store.put_blob(&all.imported)?);
    receive(store, done)?;
    // What may be half done from here on is no longer promised.
    done.held.remove(&all.manifest.digest());
    store.unname_damaged(&all.manifest.digest(), &[1])?;
    receive(store, done)?;
    let gone = Digest::of(&all.imported);
    done.held.remove(&gone);
    store.remove_blob(&gone)?;
    Ok(())
}

fn receive(store: &Store, done: &mut Acknowledged) -> Result<(), Error> {
    let all = &*SAMPLES;
    let digest = all.manifest.digest();
    if store.has(&digest)? {
        return Ok(());
    }
    let partial = match store.resume(&digest)? {
        Some(partial) => partial,
        None => store.partial(&all.manifest)?,
    };
    for piece in [2, 0, 3, 1] {
        let end = all.received.len().min((piece + 1) * PIECE);
        partial.write_piece(piece as u64, &all.received[piece * PIECE..end])?;
        if piece == 0 {
            partial.checkpoint()?;
            done.pieces.extend([0, 2]);
        }
    }
    partial.finish()?;
    done.pieces.clear();
    done.held.insert(digest);
    Ok(())
}

/// Everything acknowledged is there, and nothing is named that is not whole.
async fn check(store: &Store, done: &Acknowledged, case: &str) {
    for digest in &done.held {
        assert!(store.has(digest).unwrap(), "{case}: {digest} is lost");
    }
    for held in store.blobs().unwrap() {
        let found = store.verify_blob(&held.digest, |_| ()).unwrap();
        assert!(found.is_good(), "{case}: {} is not whole: {found:?}", held.digest);
    }
    if done.record {
        assert_eq!(store.get(&NODE, "fact").unwrap().unwrap(), "kept", "{case}");
    }
    let manifest = &SAMPLES.manifest;
    if store.has(&manifest.digest()).unwrap() {
        return;
    }
    let Some(partial) = store.resume(&manifest.digest()).unwrap() else {
        assert!(done.pieces.is_empty(), "{case}: acknowledged pieces are lost");
        return;
    };
    for piece in &done.pieces {
        assert!(partial.has(*piece), "{case}: piece {piece} is lost");
    }
    for piece in (0..manifest.piece_count()).filter(|piece| partial.has(*piece)) {
        let length = manifest.piece_length(piece).unwrap();
        let bytes = partial.read(piece * PIECE_LENGTH, length).await.unwrap();
        assert!(manifest.verify_piece(piece, &bytes).is_ok(), "{case}: piece {piece} is bad");
    }
}

/// After all of the work, the folder has its blobs and nothing else.
fn check_files(store: &Store, case: &str) {
    assert_eq!(count_files(&store.path().join("incoming")), 0, "{case}: left in incoming/");
    assert_eq!(count_files(&store.path().join("blobs")), 1, "{case}: files of blobs");
    assert_eq!(store.blobs().unwrap().len(), 2, "{case}: blobs");
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

fn empty() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    drop(Store::open(&path, Mode::Create).unwrap());
    (folder, path)
}

fn open(path: &Path, faults: &Arc<Faults>) -> Result<Store, Error> {
    Store::open_on(path, Mode::Existing, faults.disk())
}

/// Steps of opening and of the whole work.
fn count_steps() -> u64 {
    let (_folder, path) = empty();
    let faults = Faults::new(Plan::Count);
    let store = open(&path, &faults).unwrap();
    work(&store, &mut Acknowledged::default()).unwrap();
    check_files(&store, "without faults");
    faults.steps()
}

#[tokio::test]
async fn an_end_between_any_two_steps_loses_nothing_acknowledged() {
    let steps = count_steps();
    assert!(steps > 30, "only {steps} steps");
    for at in 0..steps {
        let case = format!("the end at step {at}");
        let (_folder, path) = empty();
        let mut done = Acknowledged::default();
        if let Ok(store) = open(&path, &Faults::new(Plan::EndAt(at))) {
            assert!(work(&store, &mut done).is_err(), "{case} was not reached");
        }
        let store = Store::open(&path, Mode::Existing).unwrap();
        check(&store, &done, &case).await;
        work(&store, &mut done).unwrap();
        check(&store, &done, &case).await;
    }
}

#[tokio::test]
async fn any_step_may_fail_once_and_the_store_goes_on() {
    let steps = count_steps();
    for errno in [Errno::NOSPC, Errno::IO] {
        for at in 0..steps {
            let case = format!("{errno:?} at step {at}");
            let (_folder, path) = empty();
            let faults = Faults::new(Plan::FailAt(at, errno));
            let store = match open(&path, &faults) {
                Ok(store) => store,
                Err(_) => open(&path, &faults).unwrap(),
            };
            let mut done = Acknowledged::default();
            if let Err(error) = work(&store, &mut done) {
                assert_eq!(error.is_disk_full(), errno == Errno::NOSPC, "{case}: {error}");
                check(&store, &done, &case).await;
                // With all that was lost by the failure fetched again.
                work(&store, &mut done).unwrap_or_else(|error| panic!("{case}: {error}"));
            }
            check(&store, &done, &case).await;
            drop(store);
            let store = Store::open(&path, Mode::Existing).unwrap();
            check(&store, &done, &case).await;
        }
    }
}

#[tokio::test]
async fn a_failed_sync_makes_pieces_come_again() {
    let (_folder, path) = empty();
    let faults = Faults::new(Plan::Count);
    let store = open(&path, &faults).unwrap();
    let (manifest, bytes) = (&SAMPLES.manifest, &SAMPLES.received);
    let partial = store.partial(manifest).unwrap();
    partial.write_piece(0, &bytes[..PIECE]).unwrap();
    partial.checkpoint().unwrap();
    partial.write_piece(1, &bytes[PIECE..2 * PIECE]).unwrap();
    faults.replace(Plan::FailAt(0, Errno::IO));
    partial.checkpoint().unwrap_err();
    // The next sync succeeds, and says nothing of what the first one lost.
    partial.checkpoint().unwrap();
    assert_eq!(partial.missing(), [1..4]);
    partial.read(PIECE_LENGTH, 1).await.unwrap_err();
    assert!(partial.write_piece(1, &bytes[PIECE..2 * PIECE]).unwrap());
    assert_eq!(partial.missing(), [2..4]);
}

#[tokio::test]
async fn reads_that_fail_are_told_and_harm_nothing() {
    let (_folder, path) = empty();
    let faults = Faults::new(Plan::Count);
    let store = open(&path, &faults).unwrap();
    let digest = store.put_blob(&SAMPLES.imported).unwrap();
    faults.replace(Plan::FailReads(Errno::IO));
    let reader = store.open_blob(&digest).unwrap().unwrap();
    assert!(matches!(reader.read(0, 10).await, Err(Error::Io { .. })));
    assert_eq!(store.verify_blob(&digest, |_| ()).unwrap().bad_pieces, [0, 1]);
    faults.replace(Plan::Count);
    assert_eq!(reader.read(0, 10).await.unwrap(), SAMPLES.imported[..10]);
    assert!(store.verify_blob(&digest, |_| ()).unwrap().is_good());
}
