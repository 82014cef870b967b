//! Debian-style repositories as a source of updates.
//!
//! [`sync`] fetches a suite's signed metadata and turns it into revisions, one
//! per source package and version; [`fetch_payload`] fetches one package's
//! file. What always holds: every byte used is covered by a signature of the
//! source's keyring, directly (`InRelease`, or `Release` with `Release.gpg`) or
//! by a hash and length that a signed file states; a `Release` that is expired,
//! from the future, of another suite or older than the last accepted one is
//! refused; nothing is read, unpacked or kept in memory without a bound.
//!
//! The caller keeps [`SyncState`] between runs and compares revisions with the
//! catalogue; here every revision has release 1.
//!
//! Format: <https://wiki.debian.org/DebianRepository/Format>.

pub mod config;
mod error;
mod fetch;
mod index;
mod payload;
mod release;
mod revisions;
mod stanza;

use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use config::{Config, Options, Suite};
pub use error::Error;
pub use payload::{fetch_payload, fetch_payload_to, payload_url};
pub use revisions::Revisions;

use crate::openpgp::Signer;
use crate::source::Progress;
use crate::source::http::{Http, Validators, shown};
use index::IndexFile;
use release::Release;
use revisions::{Collector, Gathered};

/// What has to be kept between two synchronisations of a source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncState {
    /// Names the source's settings that the rest was learned under.
    pub settings: String,
    /// The repository and suite that the date belongs to.
    pub place: String,
    /// Which file was fetched: `InRelease` or `Release`.
    pub release_file: String,
    /// To ask for that file again with.
    pub validators: Validators,
    /// `Date` of the last accepted Release; none older is accepted.
    pub release_date: Option<Timestamp>,
    /// `Valid-Until` of the last accepted Release.
    pub valid_until: Option<Timestamp>,
    /// Names the indices that the last revisions were made from.
    pub indices: String,
}

/// What a `Release` says of itself, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// `Origin`.
    pub origin: String,
    /// `Label`.
    pub label: String,
    /// `Suite`.
    pub suite: String,
    /// `Codename`.
    pub codename: String,
    /// `Version`.
    pub version: String,
    /// `Date`.
    pub date: Timestamp,
    /// `Valid-Until`.
    pub valid_until: Option<Timestamp>,
    /// Who signed it.
    pub signer: Signer,
    /// How many packages the indices name, before the filter.
    pub packages: usize,
    /// What an operator should know about the vendor's indices; at most 20.
    pub notes: Vec<String>,
}

/// What a synchronisation found.
#[derive(Debug)]
pub enum Outcome {
    /// The revisions are those of last time. Keep `state` all the same: the
    /// vendor may have signed them anew.
    Unchanged {
        /// To be kept.
        state: SyncState,
    },
    /// All revisions of the suite as it is now, sorted by name and version.
    Changed {
        /// Every one, not only the new.
        revisions: Revisions,
        /// To be kept once the revisions are.
        state: SyncState,
        /// About the vendor's metadata.
        release: Box<ReleaseFacts>,
    },
}

/// Learns the present state of a source.
///
/// `state` is what the last run gave, or the default. Verified indices stay in
/// `cache`, a folder of this source alone, and are not fetched again.
pub async fn sync(
    config: &Config,
    http: &Http,
    state: &SyncState,
    cache: &Path,
    now: Timestamp,
    progress: &Progress,
) -> Result<Outcome, Error> {
    let known = state.known(config);
    let Some(fetched) = fetch::release(config, http, &known, now, progress).await? else {
        return match known.valid_until.filter(|&at| at < now) {
            Some(at) => {
                Err(Error::Expired { url: format!("{}{}", known.place, known.release_file), at })
            }
            None => Ok(Outcome::Unchanged { state: known }),
        };
    };
    let release = Release::parse(&fetched.text, &fetched.url)?;
    release.check(config, &known, &fetched.url, now)?;
    let indices = release.indices(config, &fetched.url)?;
    let state = SyncState {
        settings: known.settings.clone(),
        place: known.place.clone(),
        release_file: fetched.file.to_owned(),
        validators: fetched.validators,
        release_date: Some(release.date),
        valid_until: release.valid_until,
        indices: fetch::names(&indices).to_string(),
    };
    if state.indices == known.indices {
        return Ok(Outcome::Unchanged { state });
    }
    let files = fetch::indices(config, http, &release, indices, cache, progress).await?;
    let gathered = gather(config.clone(), files, progress.clone()).await?;
    let Gathered { revisions, packages, notes } = gathered;
    for note in &notes {
        tracing::warn!(source = %config.name, note, "the vendor's index is odd");
    }
    let release = Box::new(facts(release, fetched.signer, packages, notes));
    Ok(Outcome::Changed { revisions, state, release })
}

/// Reads indices off the async threads, one after the other to save memory.
async fn gather(
    config: Config,
    files: Vec<IndexFile>,
    progress: Progress,
) -> Result<Gathered, Error> {
    let work = move || {
        let mut collector = Collector::default();
        for file in &files {
            progress.step(&format!("reading {}", file.name), 0, 0);
            index::read(file, |binary| collector.add(binary))?;
        }
        Ok(collector.finish(&config))
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::Task)?
}

fn facts(release: Release, signer: Signer, packages: usize, notes: Vec<String>) -> ReleaseFacts {
    ReleaseFacts {
        origin: release.origin,
        label: release.label,
        suite: release.suite,
        codename: release.codename,
        version: release.version,
        date: release.date,
        valid_until: release.valid_until,
        signer,
        packages,
        notes,
    }
}

impl SyncState {
    /// What of it counts for `config`. With other settings everything is learned
    /// anew, but within one repository and suite the date still holds, so that a
    /// change of settings never opens the way for an old state.
    fn known(&self, config: &Config) -> Self {
        let settings = config.digest().to_string();
        if self.settings == settings {
            return self.clone();
        }
        let place = shown(&fetch::below(&config.base, &config.suite.directory()));
        let release_date = self.release_date.filter(|_| self.place == place);
        Self { settings, place, release_date, ..Self::default() }
    }
}

#[cfg(test)]
mod tests;
