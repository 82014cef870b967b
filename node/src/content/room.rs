//! Room on the disk: what happens to payloads when there is none.
//!
//! Before a payload is fetched the disk is asked whether it has room for what
//! lacks of it; if it has not, or if it turns out to be full in the middle, the
//! payload is *held back*: nobody is asked for it, and no source is blamed. What
//! always holds:
//!
//! - What is held back is tried again when there is room for it, looked at with a
//!   pause that has a bound ([`MAX_PAUSE`]) and grows while trying again brings
//!   nothing, as with a quota that the free bytes do not show.
//! - Whatever fits goes on meanwhile.
//! - A person is told by the alert [`ALERT`] and by `status` for as long as
//!   anything is held back, and no longer.
//!
//! Documents never come this way: they have the reserve of the store.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::alert::Severity;
use patchmesh_topology::digest::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Content, Error, Wanted};
use crate::alerts::Alerts;
use crate::log::in_one_line;
use crate::store;

/// The key of the alert that the disk holds payloads back.
const ALERT: &str = "disk";

/// First pause before free space is looked at again; tests fill many disks.
const MIN_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });
/// Longest such pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Room that even a payload whose own is taken already needs beside it, for the
/// records that come with it.
const LEAST: u64 = 1 << 20;

/// How long something counts as held back that somebody asked for, and that the
/// node does not fetch by itself.
const ASKED_FOR: Duration = Duration::from_secs(10 * 60);

/// The most that is counted of what the node does not fetch by itself.
const MAX_ASKED_FOR: usize = 1024;

/// What is held back: a blob that is fetched from nodes, or a vendor's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    /// A blob.
    Blob(Digest),
    /// A vendor's payload, which has no name as a blob yet.
    Payload(Sha256),
}

/// The disk is too full for what is to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// Payloads that are held back.
    pub payloads: u64,
    /// Bytes that they need.
    pub wanted: u64,
    /// Bytes that payloads may take now.
    pub free: u64,
    /// Since when.
    pub since: Timestamp,
}

#[derive(Debug, Clone, Copy)]
struct HeldBack {
    bytes: u64,
    at: Instant,
    /// Whoever fetches it tries again by itself.
    is_kept: bool,
}

#[derive(Debug)]
struct State {
    held_back: HashMap<Item, HeldBack>,
    free: u64,
    since: Timestamp,
    pause: Duration,
    /// Grows whenever what is held back is to be tried again.
    turn: u64,
}

/// What the disk holds back.
#[derive(Debug)]
pub(super) struct Room {
    state: watch::Sender<State>,
}

impl Default for Room {
    fn default() -> Self {
        let state = State {
            held_back: HashMap::new(),
            free: 0,
            since: Timestamp::UNIX_EPOCH,
            pause: MIN_PAUSE,
            turn: 0,
        };
        Self { state: watch::Sender::new(state) }
    }
}

/// Is told when what was held back is to be tried again.
#[derive(Debug, Clone)]
pub struct Turns {
    state: watch::Receiver<State>,
    seen: u64,
}

impl Turns {
    /// Waits until there may be room again.
    pub async fn next(&mut self) {
        let seen = self.seen;
        let turn = self.state.wait_for(|state| state.turn != seen).await.map(|state| state.turn);
        match turn {
            Ok(turn) => self.seen = turn,
            // The node ends.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Content {
    /// What the disk holds back, if it does.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        let state = self.inner.room.state.borrow();
        let wanted =
            state.held_back.values().fold(0, |sum: u64, one| sum.saturating_add(one.bytes));
        (!state.held_back.is_empty()).then(|| Shortage {
            payloads: state.held_back.len() as u64,
            wanted,
            free: state.free,
            since: state.since,
        })
    }

    /// Is told from now on when what is held back is to be tried again.
    #[must_use]
    pub fn room_turns(&self) -> Turns {
        let state = self.inner.room.state.subscribe();
        let seen = state.borrow().turn;
        Turns { state, seen }
    }

    /// Makes sure of room for an item, or notes that it is held back; then whoever
    /// keeps it waits for [`Content::room_turns`].
    ///
    /// # Errors
    /// [`store::Error::DiskFull`], or a failing disk.
    pub async fn claim_room(
        &self,
        item: Item,
        bytes: u64,
        is_kept: bool,
    ) -> Result<(), store::Error> {
        let needed = bytes.max(LEAST);
        let found = self.store().run(move |store| store.ensure_space(needed)).await;
        match &found {
            Ok(()) => self.inner.room.admit(item, bytes),
            Err(store::Error::DiskFull { free, .. }) => {
                self.hold_back(item, bytes, is_kept, free.unwrap_or(0));
            }
            Err(_) => {}
        }
        found
    }

    /// Notes that an item is held back since the disk is full, with so many bytes
    /// free as far as is known.
    pub fn hold_back(&self, item: Item, bytes: u64, is_kept: bool, free: u64) {
        self.inner.room.hold_back(item, bytes, is_kept, free);
    }

    /// Forgets what is held back and nobody wants any more.
    pub fn retain_held_back(&self, is_wanted: impl Fn(&Item) -> bool) {
        self.inner.room.release(|item, one| one.is_kept && !is_wanted(item));
    }

    /// Looks for room while something is held back, and tells a person. For ever.
    pub async fn watch_room(&self, alerts: Alerts) {
        let room = &self.inner.room;
        let mut changes = room.state.subscribe();
        loop {
            let Some(shortage) = self.shortage() else {
                alerts.clear(ALERT);
                let waited = changes.wait_for(|state| !state.held_back.is_empty()).await;
                if waited.is_err() {
                    return;
                }
                continue;
            };
            alerts.raise(ALERT, Severity::Critical, &self.told(&shortage));
            let pause = room.state.borrow().pause;
            tokio::select! {
                () = sleep(pause) => {}
                _ = changes.wait_for(|state| state.held_back.is_empty()) => continue,
            }
            match self.store().run(|store| store.room()).await {
                Ok(free) => room.look(free, Instant::now()),
                Err(error) => {
                    tracing::warn!(error = in_one_line(&error), "free space cannot be looked at");
                }
            }
        }
    }

    fn told(&self, shortage: &Shortage) -> String {
        let Shortage { payloads, wanted, free, .. } = *shortage;
        format!(
            "the disk of {} is too full: payloads held back: {payloads}, which need {}; {} are \
             free for payloads. Make room there or give it a larger disk; it goes on by itself. \
             Decisions still arrive",
            self.store().path().display(),
            size(wanted),
            size(free),
        )
    }

    /// Room for a blob that is to be fetched.
    pub(super) async fn claim_for(&self, wanted: Wanted) -> Result<(), Error> {
        let Wanted { digest, length, .. } = wanted;
        let lacks = self.store().run(move |store| store.lacks_room_for(&digest, length)).await?;
        Ok(self.claim_room(Item::Blob(digest), lacks, self.wishes_for(&digest)).await?)
    }

    /// Whether it is worth while to begin with something of so many bytes; fewer
    /// where it is known that the disk keeps room for some of them.
    pub(super) fn may_have_room(&self, item: Option<Item>, bytes: u64) -> bool {
        let state = self.inner.room.state.borrow();
        let known = item.and_then(|item| state.held_back.get(&item)).map(|one| one.bytes);
        state.held_back.is_empty() || known.unwrap_or(bytes).max(LEAST) <= state.free
    }

    /// Notes that a blob is held back with those that are already.
    pub(super) fn hold_back_too(&self, wanted: Wanted) {
        let free = self.inner.room.state.borrow().free;
        self.hold_back(Item::Blob(wanted.digest), wanted.length, true, free);
    }

    /// Something was stored: the disk works.
    pub fn has_stored(&self, item: Item) {
        self.inner.room.state.send_if_modified(|state| {
            state.pause = MIN_PAUSE;
            state.held_back.remove(&item).is_some()
        });
    }
}

impl Room {
    fn hold_back(&self, item: Item, bytes: u64, is_kept: bool, free: u64) {
        self.state.send_modify(|state| {
            if state.held_back.is_empty() {
                state.since = Timestamp::now();
            }
            state.free = free;
            let asked_for = state.held_back.values().filter(|one| !one.is_kept).count();
            if is_kept || asked_for < MAX_ASKED_FOR {
                let one = HeldBack { bytes: bytes.max(LEAST), at: Instant::now(), is_kept };
                state.held_back.insert(item, one);
            }
        });
    }

    /// There is room for an item.
    fn admit(&self, item: Item, bytes: u64) {
        self.state.send_if_modified(|state| {
            state.free = state.free.saturating_sub(bytes);
            state.is_trusted() && state.held_back.remove(&item).is_some()
        });
    }

    fn release(&self, is_over: impl Fn(&Item, &HeldBack) -> bool) {
        self.state.send_if_modified(|state| {
            let before = state.held_back.len();
            state.held_back.retain(|item, one| !is_over(item, one));
            state.held_back.len() != before
        });
    }

    /// So many bytes are free: what fits is tried again.
    fn look(&self, free: u64, now: Instant) {
        self.state.send_modify(|state| {
            state.free = free;
            // Whoever asked for it asks again.
            state.held_back.retain(|_, one| {
                one.is_kept || (one.bytes > free && now.duration_since(one.at) < ASKED_FOR)
            });
            let fitting = state.fitting();
            if fitting.is_empty() {
                return;
            }
            if state.is_trusted() {
                state.held_back.retain(|item, _| !fitting.contains(item));
            }
            state.turn += 1;
            state.pause = (state.pause * 2).min(MAX_PAUSE);
        });
    }
}

impl State {
    /// Whether the disk may have what it says that it has: it did not fail when it
    /// was believed last. Otherwise something has to be stored first.
    fn is_trusted(&self) -> bool {
        self.pause == MIN_PAUSE
    }

    /// What fits into the free bytes together, small ones first.
    fn fitting(&self) -> HashSet<Item> {
        let mut items: Vec<(u64, Item)> =
            self.held_back.iter().map(|(item, one)| (one.bytes, *item)).collect();
        items.sort_by_key(|(bytes, _)| *bytes);
        let mut left = self.free;
        let fits = |(bytes, _): &(u64, Item)| match left.checked_sub(*bytes) {
            Some(rest) => {
                left = rest;
                true
            }
            None => false,
        };
        items.into_iter().take_while(fits).map(|(_, item)| item).collect()
    }
}

/// Bytes for a person, rounded: a text that changes with every byte would be a new
/// word of the node each time.
fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < 10 * MIB {
        return format!("{:.1} MiB", bytes as f64 / MIB as f64);
    }
    format!("{} MiB", bytes / MIB)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn item(number: u8) -> Item {
        Item::Blob(Digest::of(&[number]))
    }

    fn held_back(room: &Room) -> usize {
        room.state.borrow().held_back.len()
    }

    #[test]
    fn what_fits_is_tried_again_and_only_then() {
        let room = Room::default();
        room.hold_back(item(1), 100 << 20, true, 5 << 20);
        room.hold_back(item(2), 10, false, 5 << 20);
        let turn = || room.state.borrow().turn;
        assert_eq!(held_back(&room), 2);
        room.look(50 << 20, Instant::now());
        // What somebody asked for fits, and is asked for again.
        assert_eq!((held_back(&room), turn()), (1, 0));
        room.hold_back(item(3), 2 << 20, true, 50 << 20);
        room.look(101 << 20, Instant::now());
        // Not both of them.
        assert_eq!((held_back(&room), turn()), (1, 1));
        room.admit(item(3), 2 << 20);
        assert_eq!((held_back(&room), room.state.borrow().free), (1, 99 << 20));
        room.state.send_modify(|state| state.pause = MIN_PAUSE);
        room.look(100 << 20, Instant::now());
        assert_eq!((held_back(&room), turn()), (0, 2));
    }

    #[test]
    fn a_disk_that_says_it_has_room_and_has_none_is_tried_less_and_less_often() {
        let room = Room::default();
        for _ in 0..10 {
            room.hold_back(item(1), 1, true, 1 << 40);
            room.look(1 << 40, Instant::now());
        }
        assert_eq!(room.state.borrow().pause, MAX_PAUSE);
        assert_eq!(room.state.borrow().turn, 10);
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_forgotten() {
        let room = Room::default();
        room.hold_back(item(1), 1 << 30, false, 0);
        room.hold_back(item(2), 1 << 30, true, 0);
        room.look(0, Instant::now());
        assert_eq!(held_back(&room), 2);
        room.look(0, Instant::now() + ASKED_FOR);
        assert_eq!(held_back(&room), 1);
        room.release(|one, _| *one == item(2));
        assert_eq!(held_back(&room), 0);
    }

    #[test]
    fn sizes_are_round() {
        assert_eq!((size(1_600_000), size(5 << 30)), ("1.5 MiB".into(), "5120 MiB".into()));
    }
}
