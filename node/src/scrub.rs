//! The scrub: everything that a node holds is read again and hashed, round after
//! round, so that what the disk spoils is found while it can be had elsewhere.
//!
//! It owns the record of how far it is. What always holds:
//!
//! - It reads no faster than `scrub_rate`, and at an eighth of it while payloads
//!   come or go. It reads the disk itself and leaves nothing of it in memory.
//! - A round begins `scrub_period` after the one before began, or when that has
//!   ended if it took longer.
//! - A restart goes on where it was, give or take [`KEEP_BYTES`].
//! - What is damaged is mended by [`Content::report_bad_pieces`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use patchmesh_proto::admin;
use patchmesh_proto::convert::timestamp_to_wire;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::rate::Rate;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::content::{Content, Tally};
use crate::log::in_one_line;
use crate::store::manifest::piece_length;
use crate::store::{self, Held, SMALL_BLOB, Store, Table, Tag};

/// Bytes after which it is written how far it is.
const KEEP_BYTES: u64 = 256 << 20;
/// Time after which it is.
const KEEP_TIME: Duration = Duration::from_secs(30);
/// Blobs that are listed, and small ones that are read, at a time.
const BLOBS: usize = 64;
/// Bytes of small blobs that are read at a time.
const BYTES: u64 = 1 << 20;
/// What a blob counts for at least: looking it up costs as much, however small it is.
const LEAST: u64 = 16 << 10;
/// How much slower it is while payloads come or go.
const YIELD: u32 = 8;
/// The longest single pause, so that a change of what goes on is noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_secs(60);

static SCRUB: Table<str, Record> = Table::new(Tag::Scrub, 1);
const KEY: &str = "present";

/// How far the scrub is, as it is kept.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    /// When the round began, milliseconds since 1970; 0 before the first.
    #[prost(int64, tag = "1")]
    began_millis: i64,
    /// The blob that is next, where the round is under way.
    #[prost(bytes = "bytes", optional, tag = "2")]
    next: Option<Bytes>,
    /// Its first piece that was not read.
    #[prost(uint64, tag = "3")]
    piece: u64,
    /// Read in this round.
    #[prost(uint64, tag = "4")]
    blobs: u64,
    #[prost(uint64, tag = "5")]
    bytes: u64,
    /// When the last round ended; 0 before.
    #[prost(int64, tag = "6")]
    ended_millis: i64,
    /// Found damaged and mended, by whoever read it, ever.
    #[prost(uint64, tag = "7")]
    damaged: u64,
    #[prost(uint64, tag = "8")]
    mended: u64,
}

/// How it is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How fast at most.
    pub rate: Rate,
    /// How often.
    pub period: Duration,
}

/// A handle to what the scrub says of itself; cheap to clone.
#[derive(Debug, Clone)]
pub struct Progress {
    record: Arc<Mutex<Record>>,
    /// What was counted before the node started.
    before: Tally,
    content: Content,
}

impl Progress {
    /// Goes on where the node was when it ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(content: &Content) -> Result<Self, store::Error> {
        let record = content.store().get(&SCRUB, KEY)?.unwrap_or_default();
        let before = Tally { damaged: record.damaged, mended: record.mended };
        Ok(Self { record: Arc::new(Mutex::new(record)), before, content: content.clone() })
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn to_wire(&self) -> admin::Scrub {
        let record = self.record();
        let time = |millis| (millis > 0).then(|| timestamp_to_wire(at(millis)));
        admin::Scrub {
            round_began_at: time(record.began_millis),
            round_is_over: record.began_millis > 0 && record.next.is_none(),
            blobs: record.blobs,
            bytes: record.bytes,
            last_round_ended_at: time(record.ended_millis),
            damaged: record.damaged,
            mended: record.mended,
        }
    }

    /// As it is now.
    fn record(&self) -> Record {
        let now = self.content.tally();
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner).clone();
        record.damaged = self.before.damaged + now.damaged;
        record.mended = self.before.mended + now.mended;
        record
    }

    fn change(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn keep(&self) -> Result<(), store::Error> {
        let record = self.record();
        self.content.store().run(move |store| store.put(&SCRUB, KEY, &record)).await
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Scrubs round after round until stopped.
pub async fn run(content: Content, options: Options, progress: Progress, stop: CancellationToken) {
    let mut scrub = Scrub {
        content,
        options,
        progress: progress.clone(),
        debt: Duration::ZERO,
        unkept: 0,
        kept_at: Instant::now(),
    };
    tokio::select! {
        () = scrub.rounds() => {}
        () = stop.cancelled() => {}
    }
    // What was read since is read again otherwise.
    let _ = progress.keep().await;
}

struct Scrub {
    content: Content,
    options: Options,
    progress: Progress,
    /// What is still to be waited for what was read.
    debt: Duration,
    /// Bytes read since it was written how far it is.
    unkept: u64,
    kept_at: Instant,
}

impl Scrub {
    async fn rounds(&mut self) {
        loop {
            self.wait_for_round().await;
            match self.round().await {
                Ok(()) => self.end_round(),
                Err(error) => {
                    tracing::warn!(error = in_one_line(&error), "the scrub could not go on");
                    sleep(PAUSE).await;
                }
            }
            if let Err(error) = self.progress.keep().await {
                tracing::warn!(
                    error = in_one_line(&error),
                    "it could not be kept how far the scrub is"
                );
            }
        }
    }

    /// Waits until a round is due, unless one is under way; begins it.
    async fn wait_for_round(&self) {
        let record = self.progress.record();
        if record.next.is_some() {
            return;
        }
        let period = SignedDuration::try_from(self.options.period).unwrap_or(SignedDuration::MAX);
        if record.began_millis > 0 {
            let since = Timestamp::now().duration_since(at(record.began_millis));
            let left = period.saturating_sub(since).min(period);
            sleep(Duration::try_from(left).unwrap_or_default()).await;
        }
        self.progress.change(|record| {
            let first = Digest::from_bytes([0; 32]);
            *record = Record {
                began_millis: Timestamp::now().as_millisecond(),
                next: Some(Bytes::copy_from_slice(first.as_bytes())),
                piece: 0,
                blobs: 0,
                bytes: 0,
                ..record.clone()
            };
        });
    }

    fn end_round(&self) {
        self.progress.change(|record| {
            record.next = None;
            record.ended_millis = Timestamp::now().as_millisecond();
        });
        let record = self.progress.record();
        tracing::debug!(blobs = record.blobs, bytes = record.bytes, "a round of the scrub is over");
    }

    /// Reads everything from where the round is to its end.
    async fn round(&mut self) -> Result<(), store::Error> {
        loop {
            let record = self.progress.record();
            // What is none was written by nobody.
            let Some(next) = record.next.and_then(|next| Digest::try_from(next.as_ref()).ok())
            else {
                return Ok(());
            };
            let blobs =
                self.content.store().run(move |store| store.blobs_from(&next, BLOBS)).await?;
            if blobs.is_empty() {
                return Ok(());
            }
            let mut small = Vec::new();
            for blob in blobs {
                if blob.length <= SMALL_BLOB {
                    small.push(blob);
                    if bytes_of(&small) < BYTES {
                        continue;
                    }
                }
                self.read_small(std::mem::take(&mut small)).await?;
                if blob.length > SMALL_BLOB {
                    self.read_large(blob).await?;
                }
            }
            self.read_small(small).await?;
        }
    }

    /// Reads small blobs, in one go.
    async fn read_small(&mut self, blobs: Vec<Held>) -> Result<(), store::Error> {
        let Some(last) = blobs.last().copied() else { return Ok(()) };
        let (count, bytes) = (blobs.len() as u64, bytes_of(&blobs));
        let looked = self.content.store().run(move |store| {
            let mut bad = Vec::new();
            for blob in blobs {
                if !is_good(store, &blob.digest)? {
                    bad.push(blob.digest);
                }
            }
            Ok::<_, store::Error>(bad)
        });
        for digest in looked.await? {
            self.report(digest, vec![0]).await;
        }
        self.has_read(after(&last.digest), 0, count, bytes).await
    }

    /// Reads a blob piece by piece. After a bad piece the rest is read without
    /// pauses, so that all that is bad is known soon.
    async fn read_large(&mut self, blob: Held) -> Result<(), store::Error> {
        let digest = blob.digest;
        let check = self.content.store().run(move |store| store.check(&digest)).await?;
        // Removed since it was listed.
        let Some(check) = check.map(Arc::new) else {
            return self.has_read(after(&digest), 0, 0, 0).await;
        };
        let record = self.progress.record();
        let is_resumed = record.next.as_deref() == Some(digest.as_bytes().as_slice());
        let first = if is_resumed { record.piece } else { 0 };
        let (mut bad, mut bytes) = (Vec::new(), 0);
        for piece in first..check.pieces() {
            let checked = check.clone();
            let is_good = move |_: &Store| Ok::<_, store::Error>(checked.is_good(piece));
            if !self.content.store().run(is_good).await? {
                bad.push(piece);
            }
            bytes += piece_length(check.length(), piece);
            if bad.is_empty() {
                self.has_read(Some(digest), piece + 1, 0, std::mem::take(&mut bytes)).await?;
            }
        }
        if !bad.is_empty() {
            self.report(digest, bad).await;
        }
        self.has_read(after(&digest), 0, 1, bytes).await
    }

    async fn report(&self, digest: Digest, bad: Vec<u64>) {
        if let Err(error) = self.content.report_bad_pieces(digest, bad).await {
            tracing::error!(%digest, error = in_one_line(&error), "damage could not be looked at");
        }
    }

    /// Notes how far it is, and pauses for what was read. Next is a piece of a blob,
    /// or nothing after the last.
    async fn has_read(
        &mut self,
        next: Option<Digest>,
        piece: u64,
        blobs: u64,
        bytes: u64,
    ) -> Result<(), store::Error> {
        self.progress.change(|record| {
            record.next = next.map(|next| Bytes::copy_from_slice(next.as_bytes()));
            record.piece = piece;
            record.blobs += blobs;
            record.bytes += bytes;
        });
        self.unkept += bytes;
        if self.unkept >= KEEP_BYTES || self.kept_at.elapsed() >= KEEP_TIME {
            (self.unkept, self.kept_at) = (0, Instant::now());
            self.progress.keep().await?;
        }
        self.pause(bytes.max(blobs * LEAST)).await;
        Ok(())
    }

    /// Waits for as long as these bytes are to take.
    async fn pause(&mut self, bytes: u64) {
        let slower = if self.content.is_moving() { YIELD } else { 1 };
        self.debt = self.debt.saturating_add(self.options.rate.time_of(bytes) * slower);
        // Shorter ones would be late by as much.
        while self.debt >= Duration::from_millis(5) {
            let now = self.debt.min(LONGEST_PAUSE);
            sleep(now).await;
            self.debt -= now;
        }
    }
}

fn bytes_of(blobs: &[Held]) -> u64 {
    blobs.iter().map(|blob| blob.length).sum()
}

/// The digest that follows, if one can.
fn after(digest: &Digest) -> Option<Digest> {
    let mut bytes = *digest.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, overflows) = byte.overflowing_add(1);
        *byte = next;
        if !overflows {
            return Some(Digest::from_bytes(bytes));
        }
    }
    None
}

/// Whether all of a small blob is as it should be; one that is gone is no matter.
fn is_good(store: &Store, digest: &Digest) -> Result<bool, store::Error> {
    let Some(check) = store.check(digest)? else { return Ok(true) };
    Ok((0..check.pieces()).all(|piece| check.is_good(piece)))
}

#[cfg(test)]
mod tests;
