//! The primary's book of what feeds said, and the assessments that follow.
//!
//! Whatever was taken in lies in the primary's own records; what concerns a
//! revision of the catalogue is signed. Both change in one transaction, so
//! that neither is ever ahead. Assessments are computed anew when feeds or the
//! catalogue change; only what comes out differently is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use patchmesh_topology::assessment::knowledge::{Knowledge, Likelihoods, Statement, VendorFacts};
use patchmesh_topology::assessment::{
    Assessment, CveId, Exploited, Exposure, Judgement, MAX_NOTE, Risk, Vulnerability,
};
use patchmesh_topology::revision::{CatalogueEntry, RevisionId};
use tokio_util::sync::CancellationToken;

use super::import::{Content, MAX_STATEMENTS};
use super::records::{self, FACTS, STATEMENTS};
use crate::generation::{Current, load};
use crate::primary::draft::Draft;
use crate::primary::publisher::{self, Publisher};
use crate::signed;
use crate::store::{self, Store};

/// A KEV or EPSS file with less than this share of the entries of the one
/// before, in percent, is taken for one that was cut.
const SHRINK_PERCENT: u64 = 90;

/// When assessing is tried again after it failed.
const RETRY: Duration = Duration::from_secs(5 * 60);

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Much smaller than what is known.
    #[error(
        "the file has {found} entries, the one before had {known}; it looks cut. If it is right, say --accept-smaller; nothing has changed"
    )]
    Smaller {
        /// Entries known.
        known: u64,
        /// Entries found.
        found: u64,
    },
    /// No room for more.
    #[error("there would be more than {MAX_STATEMENTS} advisories; nothing has changed")]
    Full,
    /// No such revision.
    #[error("revision {0} is not in the catalogue; `patchmesh update list` shows what is")]
    UnknownRevision(RevisionId),
    /// A judgement without reason.
    #[error("say why with a note of at most {MAX_NOTE} bytes")]
    Note,
    /// An exposure that is too long.
    #[error("say who is exposed with at most {MAX_NOTE} bytes")]
    Exposure,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// A revision's document cannot be used.
    #[error("a revision cannot be read back")]
    Load(#[from] load::Error),
}

/// What taking in files came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Entries read.
    pub entries: u64,
    /// Entries left alone, since a later version of them was known.
    pub older: u64,
    /// Revisions whose assessment changed.
    pub changed: u64,
    /// The generation that says so.
    pub generation: u64,
}

/// A person's judgement, as asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Of which revision.
    pub revision: RevisionId,
    /// The judgement; `None` takes it back.
    pub judgement: Option<(Risk, Option<Exposure>, String)>,
    /// Who judges.
    pub by: String,
}

/// The book; cheap to clone.
#[derive(Debug, Clone)]
pub struct Book {
    store: Store,
    publisher: Publisher,
    facts: Arc<Mutex<FactsOfRevisions>>,
}

/// What revisions state themselves. They never change, so it is read once.
#[derive(Debug, Default)]
struct FactsOfRevisions {
    seen: Arc<BTreeMap<RevisionId, CatalogueEntry>>,
    facts: HashMap<RevisionId, VendorFacts>,
}

impl Book {
    /// The book in `store`.
    #[must_use]
    pub fn new(store: Store, publisher: Publisher) -> Self {
        Self { store, publisher, facts: Arc::default() }
    }

    /// Takes in what files said, all of it or nothing.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn import(
        &self,
        content: Content,
        accept_smaller: bool,
    ) -> Result<Outcome, publisher::Error<Refusal>> {
        let book = self.clone();
        let (outcome, generation) = self
            .publisher
            .publish(move |draft| {
                let mut known = Known::read(&book.store)?;
                let entries = content.entries();
                let older = match content {
                    Content::Kev(exploited) => {
                        check_size(known.exploited.len(), exploited.len(), accept_smaller)?;
                        draft.put(&FACTS, records::KEV, records::of_exploited(&exploited));
                        known.exploited = exploited;
                        0
                    }
                    Content::Epss(likelihoods) => {
                        let before = known.likelihoods.rows.len();
                        check_size(before, likelihoods.rows.len(), accept_smaller)?;
                        known.replace_likelihoods(draft, likelihoods);
                        0
                    }
                    Content::Statements(statements) => known.merge(draft, statements)?,
                };
                let changed = book.reassess(draft, &known.knowledge())?;
                Ok(Outcome { entries, older, changed, generation: 0 })
            })
            .await?;
        Ok(Outcome { generation: generation.number, ..outcome })
    }

    /// Records a judgement.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn judge(&self, asked: Asked) -> Result<u64, publisher::Error<Refusal>> {
        let ((), generation) = self
            .publisher
            .publish(move |draft: &mut Draft| {
                if !draft.catalogue.contains_key(&asked.revision) {
                    return Err(Refusal::UnknownRevision(asked.revision));
                }
                let (at, by) = (draft.now, asked.by);
                let judgement = asked.judgement.map(|(risk, exposure, note)| Judgement {
                    risk,
                    exposure,
                    by,
                    at,
                    note,
                });
                check_judgement(judgement.as_ref())?;
                let before = draft.assessments.get(&asked.revision).cloned().unwrap_or_default();
                if before.judgement.is_none() && judgement.is_none() {
                    return Ok(());
                }
                let assessment = Assessment { judgement, ..before };
                let set = Arc::make_mut(&mut draft.assessments);
                if assessment.is_empty() {
                    set.remove(&asked.revision);
                } else {
                    set.insert(asked.revision, assessment);
                }
                Ok(())
            })
            .await?;
        Ok(generation.number)
    }

    /// What feeds say of a vulnerability; `None` where they say nothing.
    ///
    /// # Errors
    /// The store's.
    pub fn vulnerability(&self, cve: CveId) -> Result<Option<Vulnerability>, store::Error> {
        let knowledge = Known::read(&self.store)?.knowledge();
        Ok(knowledge.knows(cve).then(|| knowledge.vulnerability(cve, BTreeSet::new())))
    }

    /// Assesses what enters the catalogue, until cancelled.
    pub async fn follow(self, current: Current, cancel: CancellationToken) {
        let mut switches = current.watch();
        let mut seen = None;
        loop {
            let catalogue = switches.borrow_and_update().catalogue.clone();
            let is_new = seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &catalogue));
            let mut failed = false;
            if is_new {
                match self.assess_anew().await {
                    Ok(changed) => {
                        seen = Some(catalogue);
                        tracing::debug!(changed, "catalogue assessed");
                    }
                    Err(publisher::Error::Stopped) => return,
                    Err(error) => {
                        failed = true;
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "what is new could not be assessed; tried again in some minutes"
                        );
                    }
                }
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                switched = switches.changed() => if switched.is_err() { return },
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    async fn assess_anew(&self) -> Result<u64, publisher::Error<Refusal>> {
        let book = self.clone();
        let (changed, _) = self
            .publisher
            .publish(move |draft| {
                let known = Known::read(&book.store)?.knowledge();
                book.reassess(draft, &known)
            })
            .await?;
        Ok(changed)
    }

    /// Computes every assessment and writes those that differ.
    fn reassess(&self, draft: &mut Draft, knowledge: &Knowledge) -> Result<u64, Refusal> {
        let mut known = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        known.read(&self.store, &draft.catalogue)?;
        let nothing = VendorFacts::default();
        let mut changes = Vec::new();
        for id in draft.catalogue.keys() {
            let before = draft.assessments.get(id);
            let judgement = before.and_then(|before| before.judgement.clone());
            let facts = known.facts.get(id).unwrap_or(&nothing);
            let after = knowledge.assess(id, facts, judgement);
            let is_same = before.map_or(after.is_empty(), |before| *before == after);
            if !is_same {
                changes.push((id.clone(), after));
            }
        }
        let changed = changes.len() as u64;
        if changed > 0 {
            let set = Arc::make_mut(&mut draft.assessments);
            for (id, assessment) in changes {
                if assessment.is_empty() {
                    set.remove(&id);
                } else {
                    set.insert(id, assessment);
                }
            }
        }
        Ok(changed)
    }
}

impl FactsOfRevisions {
    fn read(
        &mut self,
        store: &Store,
        catalogue: &Arc<BTreeMap<RevisionId, CatalogueEntry>>,
    ) -> Result<(), Refusal> {
        if Arc::ptr_eq(&self.seen, catalogue) {
            return Ok(());
        }
        for (id, entry) in catalogue.iter().filter(|(id, _)| !self.seen.contains_key(*id)) {
            let bytes = store.get_blob(&entry.document.digest)?;
            let Some(revision) = signed::document::revision(id, entry, bytes)? else { continue };
            let facts = VendorFacts::of(&revision.facts);
            if !facts.is_empty() {
                self.facts.insert(id.clone(), facts);
            }
        }
        self.seen = catalogue.clone();
        Ok(())
    }
}

/// Everything in the book.
#[derive(Debug, Default)]
struct Known {
    exploited: BTreeMap<CveId, Exploited>,
    likelihoods: Likelihoods,
    years: Vec<u16>,
    statements: BTreeMap<String, (Statement, i64)>,
}

impl Known {
    fn read(store: &Store) -> Result<Self, store::Error> {
        let exploited = store.get(&FACTS, records::KEV)?.unwrap_or_default();
        let years: Vec<_> = store
            .scan_prefix(&FACTS, records::EPSS)?
            .into_iter()
            .filter_map(|(key, record)| {
                Some((key.strip_prefix(records::EPSS)?.parse::<u16>().ok()?, record))
            })
            .collect();
        let mut statements = BTreeMap::new();
        store.for_each(&STATEMENTS, |source, record| {
            let changed_at = record.changed_at;
            let statement = records::to_statement(source.clone(), record);
            statements.insert(source, (statement, changed_at));
            Ok(true)
        })?;
        Ok(Self {
            exploited: records::to_exploited(&exploited),
            likelihoods: records::to_likelihoods(&years),
            years: years.into_iter().map(|(year, _)| year).collect(),
            statements,
        })
    }

    fn replace_likelihoods(&mut self, draft: &mut Draft, likelihoods: Likelihoods) {
        let years = records::of_likelihoods(&likelihoods);
        let key = |year: u16| format!("{}{year}", records::EPSS);
        let gone: Vec<String> = self
            .years
            .iter()
            .filter(|year| !years.contains_key(year))
            .map(|year| key(*year))
            .collect();
        draft.write(Box::new(move |transaction| {
            for key in &gone {
                transaction.delete(&FACTS, key);
            }
            for (year, record) in &years {
                transaction.put(&FACTS, &key(*year), record);
            }
        }));
        self.likelihoods = likelihoods;
    }

    /// Takes in statements that are not older than what is known of them, and
    /// counts those that are.
    fn merge(
        &mut self,
        draft: &mut Draft,
        statements: Vec<super::osv::Dated>,
    ) -> Result<u64, Refusal> {
        let mut older = 0;
        for (statement, changed) in statements {
            let record = records::of_statement(&statement, changed);
            let source = statement.source.clone();
            let known = self.statements.get(&source);
            if known.is_some_and(|(_, known)| *known > record.changed_at) {
                older += 1;
                continue;
            }
            let is_same =
                known.is_some_and(|(known, at)| *known == statement && *at == record.changed_at);
            if !is_same {
                draft.put(&STATEMENTS, &source, record.clone());
                self.statements.insert(source, (statement, record.changed_at));
            }
        }
        if self.statements.len() > MAX_STATEMENTS {
            return Err(Refusal::Full);
        }
        Ok(older)
    }

    fn knowledge(self) -> Knowledge {
        let statements = self.statements.into_values().map(|(statement, _)| statement).collect();
        Knowledge::new(self.exploited, self.likelihoods, statements)
    }
}

fn check_size(known: usize, found: usize, accept_smaller: bool) -> Result<(), Refusal> {
    let (known, found) = (known as u64, found as u64);
    if !accept_smaller && found * 100 < known * SHRINK_PERCENT {
        return Err(Refusal::Smaller { known, found });
    }
    Ok(())
}

fn check_judgement(judgement: Option<&Judgement>) -> Result<(), Refusal> {
    let Some(judgement) = judgement else { return Ok(()) };
    if judgement.note.trim().is_empty() || judgement.note.len() > MAX_NOTE {
        return Err(Refusal::Note);
    }
    match &judgement.exposure {
        Some(Exposure::Text(text)) if text.len() > MAX_NOTE || text.trim().is_empty() => {
            Err(Refusal::Exposure)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
