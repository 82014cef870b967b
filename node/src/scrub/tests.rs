//! The scrub on real folders.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::FileExt;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::budget::Budget;
use crate::store::Mode;

const PIECE: usize = 1 << 20;

fn sample(length: usize) -> Bytes {
    (0..length).map(|index| (index * 31 + index / 251) as u8).collect::<Vec<_>>().into()
}

/// A node without a source.
fn node() -> (TempDir, Content) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("data"), Mode::Create).unwrap();
    let (_, sources) = watch::channel(None);
    (folder, Content::new(store, sources, 4, Budget::default()))
}

fn options(rate: &str) -> Options {
    Options { rate: rate.parse().unwrap(), period: Duration::from_secs(3600) }
}

fn flip(store: &Store, digest: &Digest, at: u64) {
    let name = digest.to_string();
    let path = store.path().join("blobs").join(&name[..2]).join(name);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// Scrubs until `is` holds of what it says.
async fn scrub_until(
    content: &Content,
    options: Options,
    is: impl Fn(&admin::Scrub) -> bool,
) -> admin::Scrub {
    let progress = Progress::open(content).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(content.clone(), options, progress.clone(), stop.clone()));
    let waiting = async {
        while !is(&progress.to_wire()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    stop.cancel();
    running.await.unwrap();
    progress.to_wire()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_reads_everything_once_and_finds_what_is_bad() {
    let (_folder, content) = node();
    let store = content.store().clone();
    let lengths = [10, 500, 70_000, PIECE + 1, 3 * PIECE];
    let digests: Vec<Digest> =
        lengths.iter().map(|length| store.put_blob(&sample(*length)).unwrap()).collect();
    let said = scrub_until(&content, options("unlimited"), |said| said.round_is_over).await;
    assert_eq!((said.blobs, said.damaged), (5, 0));
    assert_eq!(said.bytes, lengths.iter().sum::<usize>() as u64);
    assert!(said.last_round_ended_at.is_some());

    flip(&store, &digests[4], PIECE as u64 + 5);
    store.spoil_small(&digests[0]).unwrap();
    let began = said.round_began_at;
    // The next round is due by the clock of the host, which does not pause.
    let mut soon = options("unlimited");
    soon.period = Duration::from_millis(10);
    let is_next = move |said: &admin::Scrub| said.round_is_over && said.round_began_at != began;
    let said = scrub_until(&content, soon, is_next).await;
    assert!(said.damaged == 2 && said.mended == 0, "{said:?}");
    // It lost its name and its bad piece, and nothing else.
    assert!(!store.has(&digests[4]).unwrap());
    let partial = store.resume(&digests[4]).unwrap().unwrap();
    assert!(partial.missing().into_iter().flatten().eq(1..2));
    for digest in &digests[..4] {
        assert!(store.has(digest).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_to_its_rate_and_goes_on_where_it_was() {
    let (_folder, content) = node();
    let store = content.store().clone();
    for seed in 0..4 {
        store.put_blob(&sample(4 * PIECE + seed)).unwrap();
    }
    let begun = tokio::time::Instant::now();
    // Within a blob.
    let rate = "16MiB/s";
    let said = scrub_until(&content, options(rate), |said| said.bytes >= 6 << 20).await;
    assert!(!said.round_is_over, "it keeps to no rate");
    let said = scrub_until(&content, options(rate), |said| said.round_is_over).await;
    // A second's worth.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    // What was read before the end of the node was not read again.
    assert_eq!((said.blobs, said.bytes), (4, 16 * PIECE as u64 + 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blobs_do_not_pass_by_the_rate() {
    let (_folder, content) = node();
    for number in 0..64_u8 {
        content.store().put_blob(&Bytes::from(vec![number; 10])).unwrap();
    }
    let begun = tokio::time::Instant::now();
    let said = scrub_until(&content, options("1MiB/s"), |said| said.round_is_over).await;
    assert_eq!((said.blobs, said.bytes), (64, 640));
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
}

#[test]
fn digests_follow_each_other() {
    let mut bytes = [0; 32];
    bytes[31] = 255;
    let mut next = [0; 32];
    next[30] = 1;
    assert_eq!(after(&Digest::from_bytes(bytes)), Some(Digest::from_bytes(next)));
    assert_eq!(after(&Digest::from_bytes([255; 32])), None);
}
