//! Status of clients of the predecessor, which nobody signed: taken as it comes,
//! kept at this node, shown as unverified.
//!
//! What always holds: memory and disk are bounded whatever strangers send
//! ([`Book`], [`Rate`]); nothing here waits for the disk but an import; and nothing
//! that counts machines reads it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use patchmesh_topology::legacy::book::{Book, Counts, Line};
use patchmesh_topology::legacy::rate::Rate;
use patchmesh_topology::legacy::{Error, Status};
use prost::Message;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::store::{self, NODE, Store, Table, Tag, Transaction};

#[cfg(test)]
mod fuzz;

/// How long what came may wait for the disk; a crash loses as much.
const WRITE_EVERY: Duration = Duration::from_secs(5);

static LINES: Table<u64, LineRecord> = Table::new(Tag::LegacyStatus, 1);
/// Names [`CountsRecord`] among the node's facts.
const COUNTS: &str = "legacy/counts";

/// A status as it came.
#[derive(Clone, PartialEq, prost::Message)]
struct LineRecord {
    #[prost(string, tag = "1")]
    address: String,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    at: i64,
    #[prost(string, tag = "3")]
    query: String,
    #[prost(bool, tag = "4")]
    imported: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CountsRecord {
    #[prost(uint64, tag = "1")]
    taken: u64,
    #[prost(uint64, tag = "2")]
    dropped: u64,
    #[prost(uint64, tag = "3")]
    refused: u64,
}

/// Why a status is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It says nothing.
    #[error("this is no status of a client")]
    Status(#[from] Error),
    /// Too many came.
    #[error("too much status comes from this address, or from all together")]
    TooMany {
        /// When to come again.
        retry_after: Duration,
    },
}

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Kept from now on.
    pub taken: u64,
    /// Kept before already.
    pub known: u64,
    /// Dropped to make room for them, or among them.
    pub dropped: u64,
}

/// The statuses of this node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Legacy {
    store: Store,
    begun: Instant,
    state: Arc<Mutex<State>>,
    /// One write at a time.
    turn: Arc<Mutex<Written>>,
}

#[derive(Debug, Default)]
struct State {
    book: Book,
    rate: Rate,
}

/// What is on the disk.
#[derive(Debug, Default)]
struct Written {
    numbers: BTreeSet<u64>,
    counts: Counts,
}

impl Legacy {
    /// Goes on with what was kept when the node ended. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn open(store: &Store) -> Result<Self, store::Error> {
        let (mut book, mut written) = (Book::default(), Written::default());
        store.for_each(&LINES, |number, record| {
            written.numbers.insert(number);
            if let Some(line) = record.read() {
                book.put(number, line);
            }
            Ok(true)
        })?;
        let kept = store.get(&NODE, COUNTS)?.unwrap_or_default();
        // One that is damaged counts from nothing.
        let CountsRecord { taken, dropped, refused } =
            CountsRecord::decode(kept).unwrap_or_default();
        written.counts = Counts { taken, dropped, refused };
        book.counts = written.counts;
        let state = State { book, rate: Rate::default() };
        Ok(Self {
            store: store.clone(),
            begun: Instant::now(),
            state: Arc::new(Mutex::new(state)),
            turn: Arc::new(Mutex::new(written)),
        })
    }

    /// Takes what a client at `address` sends.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take(&self, address: IpAddr, query: &str, at: Timestamp) -> Result<(), Refused> {
        let mut state = lock(&self.state);
        if let Err(retry_after) = state.rate.admit(address, self.begun.elapsed()) {
            state.book.counts.refused += 1;
            return Err(Refused::TooMany { retry_after });
        }
        Status::parse(query)?;
        state.book.take(kept_as(Line { address, at, query: query.to_owned(), imported: false }));
        Ok(())
    }

    /// Takes what was read from a log, durably. Blocks.
    ///
    /// # Errors
    /// The store's.
    pub fn import(&self, lines: Vec<Line>) -> Result<Imported, store::Error> {
        let mut imported = Imported::default();
        {
            let mut state = lock(&self.state);
            let before = state.book.counts.dropped;
            for line in lines {
                match state.book.take(kept_as(line)) {
                    true => imported.taken += 1,
                    false => imported.known += 1,
                }
            }
            imported.dropped = state.book.counts.dropped - before;
        }
        self.write()?;
        Ok(imported)
    }

    /// What is kept, in the order in which it came, and what became of the rest.
    #[must_use]
    pub fn kept(&self) -> (Vec<Line>, Counts) {
        let state = lock(&self.state);
        (state.book.lines().map(|(_, line)| line.clone()).collect(), state.book.counts)
    }

    /// Writes what came to the disk every few seconds, and at the end.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let ends = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(WRITE_EVERY) => false,
            };
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.write()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "status of old clients is not written; tried again");
                }
                Err(error) => {
                    tracing::error!(%error, "the keeper of old clients' status broke off")
                }
            }
            if ends {
                return;
            }
        }
    }

    /// Brings the disk to what is kept. Blocks.
    fn write(&self) -> Result<(), store::Error> {
        let mut written = lock(&self.turn);
        let mut transaction = self.store.transaction();
        let (numbers, counts) = {
            let state = lock(&self.state);
            if state.book.counts == written.counts {
                return Ok(());
            }
            self.difference(&state.book, &written, &mut transaction)
        };
        transaction.commit()?;
        *written = Written { numbers, counts };
        Ok(())
    }

    fn difference(
        &self,
        book: &Book,
        written: &Written,
        transaction: &mut Transaction,
    ) -> (BTreeSet<u64>, Counts) {
        for gone in written.numbers.iter().filter(|number| !book.has(**number)) {
            transaction.delete(&LINES, gone);
        }
        for (number, line) in book.lines().filter(|(one, _)| !written.numbers.contains(one)) {
            transaction.put(&LINES, &number, &LineRecord::from(line));
        }
        let Counts { taken, dropped, refused } = book.counts;
        let counts = CountsRecord { taken, dropped, refused }.encode_to_vec().into();
        transaction.put(&NODE, COUNTS, &counts);
        (book.lines().map(|(number, _)| number).collect(), book.counts)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As it is on the disk, so that the same is known again after a restart.
fn kept_as(line: Line) -> Line {
    let at = Timestamp::from_millisecond(line.at.as_millisecond()).unwrap_or(line.at);
    Line { address: line.address.to_canonical(), at, ..line }
}

impl LineRecord {
    /// One that a newer version wrote may say nothing here.
    fn read(self) -> Option<Line> {
        let address = self.address.parse().ok()?;
        let at = Timestamp::from_millisecond(self.at).ok()?;
        Status::parse(&self.query).ok()?;
        Some(Line { address, at, query: self.query, imported: self.imported })
    }
}

impl From<&Line> for LineRecord {
    fn from(line: &Line) -> Self {
        Self {
            address: line.address.to_string(),
            at: line.at.as_millisecond(),
            query: line.query.clone(),
            imported: line.imported,
        }
    }
}

#[cfg(test)]
mod tests {
    use patchmesh_topology::legacy::book::MAX_KEPT;

    use super::*;
    use crate::store::Mode;

    const QUERY: &str = "V=1&U=8b4e&A=i&S=s";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn of_log(second: i64) -> Line {
        let address = IpAddr::from([10, 0, 0, 1]);
        Line { address, at: at(second), query: QUERY.to_owned(), imported: true }
    }

    fn on_disk(store: &Store) -> usize {
        store.scan(&LINES).expect("read").len()
    }

    #[test]
    fn what_was_kept_is_there_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Mode::Create).expect("a store");
        let legacy = Legacy::open(&store).expect("opened");
        let address = IpAddr::from([10, 0, 0, 9]);
        legacy.take(address, QUERY, at(5)).expect("taken");
        let refused = legacy.take(address, "V=1", at(6)).expect_err("no status");
        assert!(matches!(refused, Refused::Status(_)), "{refused}");
        let imported = legacy.import(vec![of_log(1), of_log(2), of_log(1)]).expect("written");
        assert_eq!(imported, Imported { taken: 2, known: 1, dropped: 0 });
        let before = legacy.kept();
        assert_eq!((before.0.len(), on_disk(&store)), (3, 3));
        let again = Legacy::open(&store).expect("opened");
        assert_eq!(again.kept(), before);
        assert_eq!(again.import(vec![of_log(2)]).expect("written").known, 1);
    }

    #[test]
    fn strangers_fill_neither_memory_nor_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path(), Mode::Create).expect("a store");
        let legacy = Legacy::open(&store).expect("opened");
        let address = IpAddr::from([10, 0, 0, 9]);
        let took = (0..1000).filter(|second| legacy.take(address, QUERY, at(*second)).is_ok());
        assert!((60..200).contains(&took.count()));
        let (_, counts) = legacy.kept();
        assert_eq!(counts.taken + counts.refused, 1000);
        for from in [0, 3 * MAX_KEPT as i64] {
            let many = (from..from + 2 * MAX_KEPT as i64).map(of_log).collect();
            legacy.import(many).expect("written");
            assert_eq!((legacy.kept().0.len(), on_disk(&store)), (MAX_KEPT, MAX_KEPT));
        }
        let (kept, counts) = legacy.kept();
        assert_eq!(counts.taken - counts.dropped, kept.len() as u64);
        let own = kept.iter().filter(|line| line.address == address).count() as u64;
        assert_eq!(own, 1000 - counts.refused, "what others sent is still there");
    }
}
