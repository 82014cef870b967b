//! The mesh's vendors: which there are, how far each was synchronised, and
//! the synchronising itself.
//!
//! One synchronisation of a source runs at a time; who asks meanwhile is
//! told so. What a vendor released enters the catalogue through the
//! publisher, together with the record of how far the source was read, so
//! that neither is ever ahead of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, document};
use patchmesh_topology::catalogue::{self, Entering, Met};
use patchmesh_topology::name::SourceName;
use patchmesh_topology::revision::{CatalogueEntry, DocumentRef, Revision, RevisionId};
use tokio::sync::watch;

use super::draft::Draft;
use super::publisher::{self, Publisher};
use super::records::{self, ReleaseRecord, SyncRecord};
use crate::generation::{Generation, read_revision};
use crate::log::in_one_line;
use crate::source::http::{self, Http};
use crate::source::{self, FetchPolicy, Found, Progress, Round, Source, apt, files};
use crate::store::{self, Store, Transaction};

/// Bytes of revisions' documents that are stored in one go: enough that syncing
/// costs little, few enough that memory stays flat however large the release.
const MAX_STORED_AT_ONCE: usize = 4 << 20;

/// Why a source could not be added or synchronised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is taken.
    #[error("there is a source {0} already; choose another name")]
    Taken(SourceName),
    /// No such source.
    #[error("there is no source {0}; `patchmesh source list` shows those there are")]
    Unknown(SourceName),
    /// The kind of source is missing in the request.
    #[error("the source is of no kind that this primary knows")]
    Kind,
    /// What was given for it cannot be used.
    #[error("the source cannot be used as given")]
    Apt(#[from] Box<apt::config::Error>),
    /// Likewise.
    #[error("the source cannot be used as given")]
    Files(#[from] files::config::Error),
    /// It is being synchronised already.
    #[error("source {0} is being synchronised already")]
    Busy(SourceName),
    /// The vendor's side failed or was refused.
    #[error("source {name} could not be synchronised; the catalogue is as it was")]
    Sync {
        /// Which.
        name: SourceName,
        /// Why.
        source: source::Error,
    },
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// No HTTP client.
    #[error("no HTTP client can be made")]
    Http(#[source] http::Error),
    /// A revision's document cannot be used.
    #[error("a revision cannot be read back")]
    Load(#[from] crate::generation::load::Error),
    /// What was found could not be published.
    #[error(transparent)]
    Publish(#[from] publisher::Error<Absent>),
}

/// A change that never refuses.
#[derive(Debug, thiserror::Error)]
pub enum Absent {}

/// What a synchronisation came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The vendor had nothing new.
    pub unchanged: bool,
    /// Revisions of updates never seen before.
    pub new: u64,
    /// Further revisions of known updates.
    pub updated: u64,
    /// Revisions that were known.
    pub known: u64,
    /// The generation that says so.
    pub generation: u64,
    /// How long it took.
    pub took: std::time::Duration,
}

/// The vendors; cheap to clone.
#[derive(Debug, Clone)]
pub struct Sources {
    store: Store,
    publisher: Publisher,
    https: Arc<Mutex<BTreeMap<SourceName, Http>>>,
    cache: PathBuf,
    busy: Arc<Mutex<BTreeSet<SourceName>>>,
    ended: watch::Sender<u64>,
}

impl Sources {
    /// `cache` is a folder for vendors' indices, one folder below it a source.
    #[must_use]
    pub fn new(store: Store, publisher: Publisher, cache: PathBuf) -> Self {
        let (https, busy, ended) = (Arc::default(), Arc::default(), watch::Sender::default());
        Self { store, publisher, https, cache, busy, ended }
    }

    /// Is told when a synchronisation has ended, however it did.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Every source with how far it was synchronised, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn all(&self) -> Result<Vec<(wire::Source, SyncRecord)>, store::Error> {
        self.store
            .scan(&records::SOURCES)?
            .into_iter()
            .map(|(name, source)| {
                Ok((source, self.store.get(&records::SYNCS, &name)?.unwrap_or_default()))
            })
            .collect()
    }

    /// Whether there is a source of this name.
    ///
    /// # Errors
    /// The store's.
    pub fn is_known(&self, name: &SourceName) -> Result<bool, store::Error> {
        Ok(self.store.get(&records::SOURCES, name.as_str())?.is_some())
    }

    /// One source, ready to be asked.
    ///
    /// # Errors
    /// [`Error::Unknown`] among others.
    pub fn source(&self, name: &SourceName) -> Result<Source, Error> {
        let source = self
            .store
            .get(&records::SOURCES, name.as_str())?
            .ok_or_else(|| Error::Unknown(name.clone()))?;
        self.checked(&source)
    }

    /// The sources whose payloads come at once.
    ///
    /// # Errors
    /// The store's.
    pub fn prefetching(&self) -> Result<Vec<SourceName>, Error> {
        self.store
            .scan(&records::SOURCES)?
            .into_iter()
            .filter(|(_, source)| source.policy() == wire::FetchPolicy::Prefetch)
            .map(|(_, source)| Ok(self.checked(&source)?.name().clone()))
            .collect()
    }

    /// A revision of the catalogue.
    ///
    /// # Errors
    /// [`Error::Load`], also where the document is not there.
    pub fn revision(
        &self,
        generation: &Generation,
        id: &RevisionId,
    ) -> Result<Option<Arc<Revision>>, Error> {
        Ok(read_revision(generation, &self.store, id)?)
    }

    /// The client that a source is asked with: it bounds the connections.
    fn http(&self, name: &SourceName) -> Result<Http, Error> {
        let mut https = self.https.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = https.get(name) {
            return Ok(http.clone());
        }
        let http = Http::new(http::Options::default()).map_err(Error::Http)?;
        https.insert(name.clone(), http.clone());
        Ok(http)
    }

    /// Adds a source after checking what was given for it.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::Kind`], [`Error::Apt`], [`Error::Files`].
    pub async fn add(&self, source: wire::Source) -> Result<(), Error> {
        let name = self.checked(&source)?.name().clone();
        let added = self
            .publisher
            .publish(move |draft: &mut Draft| {
                if draft.get(&records::SOURCES, name.as_str())?.is_some() {
                    return Err(Error::Taken(name));
                }
                draft.put(&records::SOURCES, name.as_str(), source);
                Ok(())
            })
            .await;
        match added {
            Ok(_) => Ok(()),
            Err(publisher::Error::Refused(error)) => Err(error),
            Err(publisher::Error::Failed(fault)) => Err(publisher::Error::Failed(fault).into()),
            Err(publisher::Error::Stopped) => Err(publisher::Error::Stopped.into()),
        }
    }

    /// Synchronises one source; one log line says what changed.
    ///
    /// # Errors
    /// In every case the catalogue is as it was.
    pub async fn sync(&self, name: &SourceName, progress: &Progress) -> Result<Outcome, Error> {
        let _turn = self.turn(name)?;
        let started = Instant::now();
        let now = Timestamp::now();
        let outcome = self.try_sync(name, now, progress).await;
        match &outcome {
            Ok(outcome) => tracing::info!(
                source = %name,
                new = outcome.new,
                updated = outcome.updated,
                known = outcome.known,
                generation = outcome.generation,
                milliseconds = started.elapsed().as_millis() as u64,
                "source synchronised"
            ),
            Err(error) => {
                tracing::warn!(source = %name, error = error as &dyn std::error::Error, "source not synchronised");
                self.note_failure(name, now, error)?;
            }
        }
        self.ended.send_modify(|count| *count += 1);
        outcome.map(|outcome| Outcome { took: started.elapsed(), ..outcome })
    }

    async fn try_sync(
        &self,
        name: &SourceName,
        now: Timestamp,
        progress: &Progress,
    ) -> Result<Outcome, Error> {
        let source = self.source(name)?;
        let record = self.store.get(&records::SYNCS, name.as_str())?.unwrap_or_default();
        // Nothing is changed: this tells the generation that is last now.
        let ((), generation) = self.publisher.publish(|_| Ok::<_, Absent>(())).await?;
        let round = Round {
            state: &record.state,
            cache: &self.cache.join(name.as_str()),
            now,
            is_known: Box::new(move |reference| {
                let known = catalogue::known_in(&generation.catalogue, &reference.update);
                known.iter().any(|one| reference.matches(&one.id))
            }),
            progress,
        };
        let Found { revisions, state } = source
            .sync(round)
            .await
            .map_err(|source| Error::Sync { name: name.clone(), source })?;
        let record = succeeded(state, now);
        let key = name.to_string();
        let published = self
            .publisher
            .publish(move |draft| {
                let outcome = match revisions {
                    None => Outcome { unchanged: true, ..Outcome::default() },
                    Some(revisions) => enter(draft, &key, revisions)?,
                };
                draft.put(&records::SYNCS, &key, record);
                Ok::<_, store::Error>(outcome)
            })
            .await;
        let (outcome, generation) = match published {
            Ok(published) => published,
            Err(publisher::Error::Refused(error)) => return Err(error.into()),
            Err(publisher::Error::Failed(fault)) => {
                return Err(publisher::Error::Failed(fault).into());
            }
            Err(publisher::Error::Stopped) => return Err(publisher::Error::Stopped.into()),
        };
        Ok(Outcome { generation: generation.number, ..outcome })
    }

    /// What was recorded of a source, checked again.
    fn checked(&self, source: &wire::Source) -> Result<Source, Error> {
        match (&source.apt, &source.files) {
            (Some(apt), None) => {
                let config = apt_config(source, apt)?;
                let http = self.http(config.name())?;
                Ok(Source::Apt(Box::new(config), http))
            }
            (None, Some(files)) => Ok(Source::Files(files_config(source, files)?)),
            _ => Err(Error::Kind),
        }
    }

    fn note_failure(&self, name: &SourceName, now: Timestamp, error: &Error) -> Result<(), Error> {
        let mut record = self.store.get(&records::SYNCS, name.as_str())?.unwrap_or_default();
        record.attempted_at = now.as_second();
        record.problem = in_one_line(error);
        Ok(self.store.put(&records::SYNCS, name.as_str(), &record)?)
    }

    fn turn(&self, name: &SourceName) -> Result<Turn, Error> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(name.clone()) {
            return Err(Error::Busy(name.clone()));
        }
        Ok(Turn { busy: self.busy.clone(), name: name.clone() })
    }
}

/// Held while a source is synchronised.
struct Turn {
    busy: Arc<Mutex<BTreeSet<SourceName>>>,
    name: SourceName,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Enters what a vendor has into the catalogue,
/// and notes what the release has, for baselines.
fn enter(
    draft: &mut Draft,
    source: &str,
    revisions: source::Revisions,
) -> Result<Outcome, store::Error> {
    let known = draft.catalogue.clone();
    let (mut outcome, mut release, mut entries) = (Outcome::default(), Vec::new(), Vec::new());
    let mut documents = Documents::new(draft.store().clone());
    for met in catalogue::merge(revisions, |update| catalogue::known_in(&known, update)) {
        let Entering { revision, ordinal, fingerprint } = match met {
            Met::Entering(entering) => entering,
            Met::Known(id) => {
                outcome.known += 1;
                release.push(id.to_string());
                continue;
            }
        };
        *if ordinal == 0 { &mut outcome.new } else { &mut outcome.updated } += 1;
        release.push(revision.id.to_string());
        let document = documents.put(&revision)?;
        entries.push((
            revision.id,
            CatalogueEntry { document, entered_at: draft.now, ordinal, fingerprint },
        ));
    }
    documents.finish()?;
    let release = ReleaseRecord { revisions: release, at: draft.now.as_second() };
    draft.put(&records::RELEASES, source, release);
    drop(known);
    if !entries.is_empty() {
        Arc::make_mut(&mut draft.catalogue).extend(entries);
    }
    Ok(outcome)
}

/// Revisions' documents on their way into the store, a few megabytes at a time:
/// a whole distribution in one transaction would stand in memory four times.
/// Nothing names them until a generation does; should it fail, the next attempt
/// stores the very same.
struct Documents {
    store: Store,
    transaction: Transaction,
    /// Of the open transaction.
    bytes: usize,
}

impl Documents {
    fn new(store: Store) -> Self {
        let transaction = store.transaction();
        Self { store, transaction, bytes: 0 }
    }

    fn put(&mut self, revision: &Revision) -> Result<DocumentRef, store::Error> {
        let bytes = document::encode(&patchmesh_proto::wire::Revision::from(revision));
        self.transaction.put_blob(&bytes)?;
        self.bytes += bytes.len();
        if self.bytes >= MAX_STORED_AT_ONCE {
            let next = self.store.transaction();
            std::mem::replace(&mut self.transaction, next).commit()?;
            self.bytes = 0;
        }
        Ok(document::reference(&bytes))
    }

    fn finish(self) -> Result<(), store::Error> {
        self.transaction.commit()
    }
}

fn succeeded(state: Vec<u8>, now: Timestamp) -> SyncRecord {
    let now = now.as_second();
    SyncRecord { state: state.into(), succeeded_at: now, attempted_at: now, problem: String::new() }
}

fn policy(source: &wire::Source) -> FetchPolicy {
    match source.policy() {
        wire::FetchPolicy::Prefetch => FetchPolicy::Prefetch,
        wire::FetchPolicy::OnDemand | wire::FetchPolicy::Unspecified => FetchPolicy::OnDemand,
    }
}

fn apt_config(source: &wire::Source, apt: &wire::AptSource) -> Result<apt::Config, Error> {
    let options = apt::Options {
        name: source.name.clone(),
        url: apt.url.clone(),
        suite: apt.suite.clone(),
        components: apt.components.clone(),
        architectures: apt.architectures.clone(),
        keyring: apt.keyring.to_vec(),
        packages: apt.packages.clone(),
        release_name: None,
        policy: policy(source),
        max_index_bytes: apt.max_index_bytes,
    };
    apt::Config::validate(options).map_err(|error| Error::Apt(Box::new(error)))
}

fn files_config(source: &wire::Source, files: &wire::FilesSource) -> Result<files::Config, Error> {
    let options = files::Options {
        name: source.name.clone(),
        folder: PathBuf::from(&files.folder),
        keyring: files.keyring.to_vec(),
        unsigned: files.unsigned,
        policy: policy(source),
    };
    Ok(files::Config::validate(options)?)
}
