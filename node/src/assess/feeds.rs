//! Feeds that are fetched: once when somebody asks, or every day.
//!
//! Only the primary does so; it alone talks to the outside. A fetch that fails
//! is tried again three times, half an hour apart, and then the next day.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use patchmesh_topology::name::FeedName;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::MAX_FILE;
use super::book::{Book, Outcome, Refusal};
use super::import::{Collector, Content, Kind, Refused};
use super::records::{FEEDS, FeedRecord};
use crate::backoff::jittered;
use crate::log::in_one_line;
use crate::primary::publisher;
use crate::source::http::{self, Answer, Http, Validators};
use crate::store::{self, Store};

/// The most feeds.
pub const MAX_FEEDS: usize = 200;
/// The longest URL.
const MAX_URL: usize = 2000;
/// How often feeds are fetched.
const EVERY: SignedDuration = SignedDuration::from_hours(24);
/// The pause before a fetch that failed is tried again.
const RETRY: SignedDuration = SignedDuration::from_mins(30);
/// How often that is done before the next day.
const RETRIES: u32 = 3;
/// How often it is looked at what is due. Spread, so that the primaries of
/// several companies do not ask in step.
const TICK: Duration = Duration::from_secs(120);

/// Why a feed was not fetched, added or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken.
    #[error("there is a feed {0} already; choose another name")]
    Taken(FeedName),
    /// No such feed.
    #[error("there is no feed {0}; `patchmesh assess feed list` shows those there are")]
    Unknown(FeedName),
    /// Too many.
    #[error("there are {MAX_FEEDS} feeds already")]
    Full,
    /// The address can't be used.
    #[error("the URL can't be used: {0}")]
    Url(String),
    /// The server does not have it.
    #[error("{0} is not there; nothing has changed")]
    Missing(String),
    /// It could not be fetched.
    #[error("the feed could not be fetched; nothing has changed")]
    Fetch(#[source] http::Error),
    /// What was fetched is wrong.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What was fetched was not taken in.
    #[error(transparent)]
    Book(#[from] publisher::Error<Refusal>),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A worker ended.
    #[error("the node is shutting down; nothing was changed")]
    Stopped,
}

/// The feeds; cheap to clone.
#[derive(Debug, Clone)]
pub struct Feeds {
    store: Store,
    book: Book,
    http: Http,
    /// One fetch at a time: files are large.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Feeds {
    /// The feeds in `store`, which write into `book`.
    ///
    /// # Errors
    /// The HTTP client can't be made.
    pub fn new(store: Store, book: Book) -> Result<Self, http::Error> {
        let http = Http::new(http::Options::default())?;
        Ok(Self { store, book, http, turn: Arc::default() })
    }

    /// What feeds said.
    #[must_use]
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// Every feed, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn all(&self) -> Result<Vec<(String, FeedRecord)>, store::Error> {
        self.store.scan(&FEEDS)
    }

    /// Adds a feed.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Url`] and [`Error::Full`] among others.
    pub async fn add(&self, name: FeedName, kind: Kind, url: &str) -> Result<(), Error> {
        let url = address(url)?;
        let _turn = self.turn.lock().await;
        if self.store.get(&FEEDS, name.as_str())?.is_some() {
            return Err(Error::Taken(name));
        }
        if self.all()?.len() >= MAX_FEEDS {
            return Err(Error::Full);
        }
        let record =
            FeedRecord { kind: kind.to_wire().into(), url: url.into(), ..FeedRecord::default() };
        Ok(self.store.put(&FEEDS, name.as_str(), &record)?)
    }

    /// Removes a feed; what it said stays.
    ///
    /// # Errors
    /// [`Error::Unknown`] among others.
    pub async fn remove(&self, name: &FeedName) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        if self.store.get(&FEEDS, name.as_str())?.is_none() {
            return Err(Error::Unknown(name.clone()));
        }
        Ok(self.store.delete(&FEEDS, name.as_str())?)
    }

    /// Fetches a file and takes it in.
    ///
    /// # Errors
    /// In every case nothing has changed.
    pub async fn fetch(
        &self,
        kind: Kind,
        url: &str,
        accept_smaller: bool,
    ) -> Result<Outcome, Error> {
        let url = address(url)?;
        let _turn = self.turn.lock().await;
        let fetched = self.read(kind, &url, &Validators::default()).await?;
        let (content, _) = fetched.ok_or_else(|| Error::Missing(http::shown(&url)))?;
        Ok(self.book.import(content, accept_smaller).await?)
    }

    /// Fetches a feed now; `None` where the server has nothing newer.
    ///
    /// # Errors
    /// In every case nothing has changed but the feed's own record.
    pub async fn refresh(&self, name: &FeedName) -> Result<Option<Outcome>, Error> {
        let _turn = self.turn.lock().await;
        let key = name.as_str();
        let record = self.store.get(&FEEDS, key)?.ok_or_else(|| Error::Unknown(name.clone()))?;
        let outcome = self.try_refresh(&record).await;
        let now = Timestamp::now().as_second();
        let record = match &outcome {
            Ok(fetched) => {
                let (entries, validators) = match fetched {
                    Some((outcome, validators)) => (outcome.entries, validators.clone()),
                    None => (record.entries, validators(&record)),
                };
                tracing::info!(feed = key, entries, unchanged = fetched.is_none(), "feed fetched");
                FeedRecord {
                    succeeded_at: now,
                    attempted_at: now,
                    problem: String::new(),
                    failures: 0,
                    entries,
                    etag: validators.etag,
                    last_modified: validators.last_modified,
                    ..record
                }
            }
            Err(error) => {
                let failures = record.failures.saturating_add(1);
                tracing::warn!(
                    feed = key,
                    failures,
                    error = error as &dyn std::error::Error,
                    "feed not fetched"
                );
                FeedRecord { attempted_at: now, problem: in_one_line(error), failures, ..record }
            }
        };
        self.store.put(&FEEDS, key, &record)?;
        Ok(outcome?.map(|(outcome, _)| outcome))
    }

    async fn try_refresh(
        &self,
        record: &FeedRecord,
    ) -> Result<Option<(Outcome, Validators)>, Error> {
        let url = address(&record.url)?;
        let kind = Kind::of(record.kind).ok_or_else(|| Error::Url("of no kind".to_owned()))?;
        let Some((content, validators)) = self.read(kind, &url, &validators(record)).await? else {
            return Ok(None);
        };
        Ok(Some((self.book.import(content, false).await?, validators)))
    }

    async fn read(
        &self,
        kind: Kind,
        url: &Url,
        known: &Validators,
    ) -> Result<Option<(Content, Validators)>, Error> {
        let answer = self.http.get(url, MAX_FILE as u64, known).await.map_err(Error::Fetch)?;
        let name = http::shown(url);
        let (bytes, validators) = match answer {
            Answer::Unchanged => return Ok(None),
            Answer::Missing => return Err(Error::Missing(name)),
            Answer::Body { bytes, validators } => (bytes, validators),
        };
        let content = tokio::task::spawn_blocking(move || {
            let mut collector = Collector::new(kind);
            collector.add(&name, &bytes)?;
            collector.finish()
        });
        Ok(Some((content.await.map_err(|_| Error::Stopped)??, validators)))
    }

    /// Fetches what is due until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(jittered(TICK)) => {}
            }
            let feeds = match self.all() {
                Ok(feeds) => feeds,
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "feeds not read");
                    continue;
                }
            };
            let now = Timestamp::now();
            for (name, _) in feeds.iter().filter(|(_, record)| is_due(record, now)) {
                let Ok(name) = name.parse::<FeedName>() else { continue };
                tokio::select! {
                    () = cancel.cancelled() => return,
                    // What came of it was logged and recorded.
                    _ = self.refresh(&name) => {}
                }
            }
        }
    }
}

fn validators(record: &FeedRecord) -> Validators {
    Validators { etag: record.etag.clone(), last_modified: record.last_modified.clone() }
}

fn address(text: &str) -> Result<Url, Error> {
    if text.len() > MAX_URL {
        return Err(Error::Url(format!("it has more than {MAX_URL} bytes")));
    }
    let url: Url = text.parse().map_err(|error: url::ParseError| Error::Url(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(Error::Url("it is neither http nor https".to_owned()));
    }
    Ok(url)
}

/// Whether a feed is to be fetched.
fn is_due(record: &FeedRecord, now: Timestamp) -> bool {
    let since = |second: i64| {
        Timestamp::from_second(second).map_or(SignedDuration::MAX, |at| now.duration_since(at))
    };
    if record.attempted_at == 0 {
        return true;
    }
    let pause = if (1..=RETRIES).contains(&record.failures) { RETRY } else { EVERY };
    since(record.attempted_at) >= pause
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_between_fetches_and_half_an_hour_after_the_first_failures() {
        let now = Timestamp::from_second(10_000_000).expect("a time");
        let due = |hours: i64, failures: u32| {
            let attempted_at = now.as_second() - hours * 3600 - 1;
            is_due(&FeedRecord { attempted_at, failures, ..FeedRecord::default() }, now)
        };
        assert!(is_due(&FeedRecord::default(), now), "never fetched");
        assert!(due(24, 0) && !due(23, 0));
        assert!(due(1, 1) && due(1, 3) && !due(0, 3));
        assert!(!due(23, 4) && due(24, 4), "then the next day");
    }

    #[test]
    fn only_the_web_is_fetched_from() {
        assert!(address("https://feeds.example/kev.json").is_ok());
        for wrong in ["file:///etc/passwd", "ftp://x.example/a", "kev.json", "http://"] {
            assert!(matches!(address(wrong), Err(Error::Url(_))), "{wrong}");
        }
    }
}
