//! Held blobs that turn out to be damaged are made whole again.
//!
//! Whoever reads a blob finds out ([`Content::report_damage`]): a child or machine
//! that is served, the loading of a generation, the scrub, a person who verifies.
//! What always holds:
//!
//! - Nothing damaged is handed on: the store hashes what it reads.
//! - A damaged blob loses its name at once and keeps its good pieces; only the bad
//!   ones are fetched again, from whatever source this node has. A small one keeps
//!   its name and is written anew.
//! - It is one fetch, like any other: whoever asks for the blob meanwhile waits for
//!   it and gets what is right.
//! - A person is told by an alert `damage/DIGEST` from then until it is mended,
//!   over restarts too. At most [`MAX_ALERTS`] have one of their own.
//! - It is tried until it succeeds or nobody needs the blob any more, with pauses
//!   between [`MIN_PAUSE`] and [`MAX_PAUSE`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use patchmesh_topology::alert::Severity;
use patchmesh_topology::digest::Digest;
use patchmesh_topology::link::Class;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ask::Ask;
use super::background::sleep_or_never;
use super::near::nobody;
use super::{Content, Error, Urgency, Wanted};
use crate::alerts::Alerts;
use crate::backoff::jittered;
use crate::log::in_one_line;
use crate::store::{Rest, SMALL_BLOB};

/// Begins the key of a damaged blob's alert.
const ALERT: &str = "damage/";
/// The alert for those that have none of their own.
const MORE: &str = "damage/more";
/// Blobs with an alert of their own. More are a failing disk, which is one fact.
const MAX_ALERTS: usize = 8;
/// Blobs mended at a time.
const AT_ONCE: usize = 4;
/// First pause after a failure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_secs(10);
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// After so many failures, hours later, what nobody has is given up, unless this
/// node is to hold it.
const ENOUGH: u32 = 12;

/// How many blobs were found damaged, and how many of them were mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Found damaged.
    pub damaged: u64,
    /// Made whole again.
    pub mended: u64,
}

/// A damaged blob.
#[derive(Debug, Clone)]
struct Open {
    length: u64,
    /// What was wrong, for a person.
    found: String,
    /// Why it is damaged still.
    problem: String,
    failures: u32,
    due: Instant,
    has_alert: bool,
    is_running: bool,
}

/// The damaged blobs of a node.
#[derive(Debug, Default)]
pub(super) struct Mending {
    open: Mutex<BTreeMap<Digest, Open>>,
    /// Held by whoever looks what is damaged of a blob.
    looking: tokio::sync::Mutex<()>,
    news: Notify,
    damaged: AtomicU64,
    mended: AtomicU64,
}

impl Mending {
    fn open(&self) -> MutexGuard<'_, BTreeMap<Digest, Open>> {
        // The map is whole after every statement, so a panic elsewhere does
        // not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, digest: Digest, length: u64, found: String) -> bool {
        let mut open = self.open();
        if open.contains_key(&digest) {
            return false;
        }
        let has_alert = open.values().filter(|one| one.has_alert).count() < MAX_ALERTS;
        open.insert(
            digest,
            Open {
                length,
                found,
                problem: String::new(),
                failures: 0,
                due: Instant::now(),
                has_alert,
                is_running: false,
            },
        );
        drop(open);
        self.news.notify_one();
        true
    }

    /// The next one to be mended with how often that failed, or when there is one.
    fn next(&self) -> Result<(Digest, u64, u32), Option<Instant>> {
        let mut open = self.open();
        let waiting = open.iter_mut().filter(|(_, one)| !one.is_running);
        let Some((digest, one)) = waiting.min_by_key(|(_, one)| one.due) else {
            return Err(None);
        };
        if one.due > Instant::now() {
            return Err(Some(one.due));
        }
        one.is_running = true;
        Ok((*digest, one.length, one.failures))
    }
}

/// What became of an attempt.
enum Outcome {
    Mended,
    /// No generation that is kept leads to it.
    Unneeded,
    Failed(Error),
}

impl Content {
    /// What was found and mended since the node started.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mending = &self.inner.mending;
        Tally {
            damaged: mending.damaged.load(Ordering::Relaxed),
            mended: mending.mended.load(Ordering::Relaxed),
        }
    }

    /// Says that these pieces of a held blob may be damaged, since a reader met them.
    /// If one of them is, all of it is read, and what is bad comes again. Whether any
    /// is, or was before.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn report_damage(&self, digest: Digest, suspects: Vec<u64>) -> Result<bool, Error> {
        self.report(digest, suspects, Rest::Unknown).await
    }

    /// Says that a held blob was read and that these of its pieces are bad.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn report_bad_pieces(&self, digest: Digest, bad: Vec<u64>) -> Result<bool, Error> {
        self.report(digest, bad, Rest::Good).await
    }

    async fn report(&self, digest: Digest, suspects: Vec<u64>, rest: Rest) -> Result<bool, Error> {
        let _turn = self.inner.mending.looking.lock().await;
        if self.inner.mending.open().contains_key(&digest) {
            return Ok(true);
        }
        let looked = self.store().run(move |store| {
            let Some(length) = store.length(&digest)? else { return Ok(None) };
            let bad = store.unname_if_damaged(&digest, &suspects, rest)?;
            Ok::<_, Error>(Some((length, bad)))
        });
        let Some((length, bad)) = looked.await? else {
            return Ok(self.inner.mending.open().contains_key(&digest));
        };
        if bad.is_empty() {
            return Ok(false);
        }
        let shown: Vec<String> = bad.iter().take(5).map(ToString::to_string).collect();
        let found = format!("{} of its pieces bad ({})", bad.len(), shown.join(", "));
        if self.inner.mending.add(digest, length, found) {
            self.inner.mending.damaged.fetch_add(1, Ordering::Relaxed);
            tracing::error!(
                %digest, pieces = bad.len(), first = bad[0],
                "a blob on this disk is damaged; what is bad of it is fetched again",
            );
            // What is wanted and no longer held is counted anew.
            if self.wishes_for(&digest) {
                self.inner.wish.send_modify(|wish| wish.losses += 1);
            }
        }
        Ok(true)
    }

    /// Mends what is damaged, for ever.
    pub async fn mend(&self, alerts: Alerts) {
        self.restore(&alerts).await;
        tokio::join!(self.hear(), self.mend_all(alerts));
    }

    /// Hears of what readers met.
    async fn hear(&self) {
        loop {
            let (digest, pieces) = self.store().damage_met().await;
            if let Err(error) = self.report_damage(digest, pieces).await {
                tracing::error!(%digest, error = in_one_line(&error), "damage cannot be looked at");
            }
        }
    }

    async fn mend_all(&self, alerts: Alerts) {
        let mending = &self.inner.mending;
        let mut running = FuturesUnordered::new();
        loop {
            self.tell(&alerts);
            let mut next = None;
            while running.len() < AT_ONCE {
                match mending.next() {
                    Ok((digest, length, failures)) => running.push(async move {
                        (digest, self.mend_one(digest, length, failures).await)
                    }),
                    Err(due) => {
                        next = due;
                        break;
                    }
                }
            }
            tokio::select! {
                Some((digest, outcome)) = running.next() => self.ended(digest, outcome, &alerts),
                () = mending.news.notified() => {}
                () = sleep_or_never(next) => {}
            }
        }
    }

    /// Goes on with what was damaged when the node ended.
    async fn restore(&self, alerts: &Alerts) {
        alerts.clear(MORE);
        let present = alerts.present();
        let known = present.iter().filter_map(|(key, _)| key.strip_prefix(ALERT)?.parse().ok());
        for digest in known.collect::<Vec<Digest>>() {
            let found = self.store().run(move |store| {
                Ok::<_, Error>((store.manifest(&digest)?, store.length(&digest)?.is_some()))
            });
            let wished = self.wish_for(&digest);
            match found.await {
                // Another fetch has mended it, and a small one is looked at below.
                Ok((Some(manifest), true)) if manifest.length() > SMALL_BLOB => {
                    alerts.clear(&key_of(&digest));
                }
                Ok((Some(manifest), _)) => self.resume(digest, manifest.length()),
                _ => match wished {
                    Some(wanted) => self.resume(digest, wanted.length),
                    None => alerts.clear(&key_of(&digest)),
                },
            }
        }
    }

    fn resume(&self, digest: Digest, length: u64) {
        self.inner.mending.add(digest, length, "found before the node was started".to_owned());
    }

    async fn mend_one(&self, digest: Digest, length: u64, failures: u32) -> Outcome {
        let class = self.wish_for(&digest).map_or(Class::Normal, |wanted| wanted.class);
        let wanted = Wanted::new(digest, length).with_class(class);
        let outcome = if length <= SMALL_BLOB {
            self.mend_small(wanted).await
        } else {
            self.ensure(wanted, Urgency::Background).held().await
        };
        let Err(error) = outcome else { return Outcome::Mended };
        // What no node has any more and this one is not to hold is of no generation.
        let is_given_up = failures >= ENOUGH && matches!(error, Error::Absent { .. });
        if !is_given_up || self.wishes_for(&digest) {
            return Outcome::Failed(error);
        }
        match self.store().run(move |store| store.discard_partial(&digest)).await {
            Ok(()) => Outcome::Unneeded,
            Err(error) => Outcome::Failed(error.into()),
        }
    }

    /// Fetches a small blob whole and writes it over the bad bytes.
    async fn mend_small(&self, wanted: Wanted) -> Result<(), Error> {
        let digest = wanted.digest;
        let is_good = self.store().run(move |store| {
            let found = store.verify_blob(&digest, |_| ());
            Ok::<_, Error>(found.is_ok_and(|found| found.is_good()))
        });
        if is_good.await? {
            return Ok(());
        }
        let source = self.inner.sources.borrow().clone().ok_or_else(|| nobody(digest))?;
        let bytes = Ask { source: &source, wanted }.single().await?;
        Ok(self.store().run(move |store| store.mend_small(&bytes)).await?)
    }

    fn ended(&self, digest: Digest, outcome: Outcome, alerts: &Alerts) {
        let mending = &self.inner.mending;
        let mut open = mending.open();
        match outcome {
            Outcome::Failed(error) => {
                let Some(one) = open.get_mut(&digest) else { return };
                one.is_running = false;
                one.problem = in_one_line(&error);
                let pause = MIN_PAUSE.saturating_mul(1 << one.failures.min(16)).min(MAX_PAUSE);
                one.failures += 1;
                one.due = Instant::now() + jittered(pause);
                tracing::warn!(
                    %digest, error = one.problem, again_in_seconds = pause.as_secs(),
                    "a damaged blob could not be mended",
                );
            }
            Outcome::Mended => {
                mending.mended.fetch_add(1, Ordering::Relaxed);
                tracing::info!(%digest, "a damaged blob is whole again");
                open.remove(&digest);
            }
            Outcome::Unneeded => {
                tracing::info!(%digest, "a damaged blob is not needed any more");
                open.remove(&digest);
            }
        }
        if !open.contains_key(&digest) {
            drop(open);
            alerts.clear(&key_of(&digest));
        }
    }

    /// Tells a person what is damaged.
    fn tell(&self, alerts: &Alerts) {
        let open = self.inner.mending.open();
        let more = open.values().filter(|one| !one.has_alert).count();
        for (digest, one) in open.iter().filter(|(_, one)| one.has_alert) {
            let is_stuck = !one.problem.is_empty();
            let severity = if is_stuck { Severity::Critical } else { Severity::Warning };
            alerts.raise(&key_of(digest), severity, &text(digest, one));
        }
        drop(open);
        if more == 0 {
            alerts.clear(MORE);
            return;
        }
        let text = format!(
            "{more} more blobs on this disk are damaged and are being fetched again: the disk is \
             failing. Replace it; what is lost with it comes again from above"
        );
        alerts.raise(MORE, Severity::Critical, &text);
    }

    /// What the node wants of this name.
    fn wish_for(&self, digest: &Digest) -> Option<Wanted> {
        let wish = self.inner.wish.borrow();
        wish.wanted.iter().find(|wanted| wanted.digest == *digest).copied()
    }
}

fn key_of(digest: &Digest) -> String {
    format!("{ALERT}{digest}")
}

fn text(digest: &Digest, one: &Open) -> String {
    let name = digest.to_string();
    let found = format!("blob {} on this disk is damaged: {}", &name[..16], one.found);
    if one.problem.is_empty() {
        return format!(
            "{found}. It is being fetched again. If it happens again, replace the disk"
        );
    }
    format!(
        "{found}. It could not be fetched again ({}), and is tried on. Give its source back, or \
         restore this node from a backup",
        one.problem
    )
}
