//! What waits for signatures that are made elsewhere.
//!
//! A change of a role whose keys are with people is not published but written
//! down: the exact metadata that they would have to sign, and what it would
//! change. Their signatures come in one by one; with the last one that is
//! needed it is published as any other change.
//!
//! What always holds: a signature counts once, only for the very text that
//! was signed, and only while its signer is not revoked. When the ground
//! under a pending change moves (another decision came first, the holders
//! changed), its text is written anew and has to be signed again. What waits
//! survives a restart; how much may wait is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::{admin as wire, convert, set};
use patchmesh_topology::approval::{Approval, ApprovalSet, diff};
use patchmesh_topology::name::GroupName;
use patchmesh_topology::node::{Membership, Mesh, Stage};
use patchmesh_topology::revision::RevisionId;
use prost::bytes::Bytes;

use super::draft::{Draft, Written};
use super::publisher::{self, Fault, Worker};
use super::records::{PENDING, PendingRecord, SignerRecord};
use super::signing::Signing;
use crate::generation::Generation;
use crate::log::in_one_line;
use crate::signed::names;
use crate::store::{self, Store};
use crate::tuf::envelope::Signature;
use crate::tuf::key::KeyId;
use crate::tuf::layout::MeshRole;
use crate::tuf::paper::{Paper, Refused};
use crate::tuf::repository::{self, Repository, TargetEntry};
use crate::tuf::{RoleName, TargetPath, ceremony};

mod outlook;

pub use outlook::Outlook;

/// Most changes that wait at a time.
pub const MAX_WAITING: usize = 64;

pub(super) type Entry = ((RevisionId, GroupName), Approval);

/// Why a pending change could not be made, signed or withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of that number.
    #[error("nothing waits under number {0}; `patchmesh pending list` shows what does")]
    Unknown(u64),
    /// It is over.
    #[error("{id} does not wait any more: it was {state}")]
    Over {
        /// Its number.
        id: u64,
        /// What became of it.
        state: &'static str,
    },
    /// Too many wait.
    #[error("{MAX_WAITING} changes wait for signatures already; sign or withdraw some first")]
    TooMany,
    /// The signature was made for an earlier text.
    #[error("{0} was prepared anew in the meantime: look at it again, and sign that")]
    Changed(u64),
    /// A signature for a role that the change does not touch.
    #[error("{id} changes nothing that role {role} signs")]
    NoPart {
        /// Its number.
        id: u64,
        /// The role.
        role: String,
    },
    /// It waits for somebody's consent.
    #[error("{0} needs no signature but another person's consent: `patchmesh pending consent {0}`")]
    Consent(u64),
    /// The signer was shut out.
    #[error("user {0} was revoked: their signature counts no more")]
    Revoked(String),
    /// The signature does not count.
    #[error(transparent)]
    Signature(#[from] Refused),
    /// The metadata can't be drawn up.
    #[error("the metadata to be signed can't be drawn up")]
    Draw(#[from] repository::Error),
    /// The record can't be used.
    #[error("the record of {0} is damaged")]
    Record(u64),
    /// Nothing was published yet; a fault of this program.
    #[error("nothing is published yet")]
    NoRepository,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// It has all its signatures and could not be published.
    #[error("it is signed by enough, but could not be published; it is tried again by itself")]
    Publish(#[source] Arc<Fault>),
}

/// A pending change and its number.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its number.
    pub id: u64,
    /// What is kept of it.
    pub record: PendingRecord,
    /// The metadata to be signed.
    pub papers: Vec<Paper>,
}

/// A signature as it comes in.
#[derive(Debug, Clone)]
pub struct Given {
    /// For which role.
    pub role: String,
    /// Of which text: SHA-256 of the bytes signed.
    pub text_sha256: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

/// The role that signs the decisions of a stage.
#[must_use]
pub const fn role_of(stage: Stage) -> MeshRole {
    match stage {
        Stage::Validation => MeshRole::Validation,
        Stage::Production => MeshRole::Production,
    }
}

impl Pending {
    fn read(key: &str, record: PendingRecord) -> Result<Self, Error> {
        let id = key.parse().map_err(|_| Error::Record(0))?;
        let papers = record.papers.iter().map(|paper| serde_json::from_slice(paper));
        let papers = papers.collect::<Result<_, _>>().map_err(|_| Error::Record(id))?;
        Ok(Self { id, record, papers })
    }

    /// The record as it is to be stored.
    fn to_record(&self) -> Result<PendingRecord, Error> {
        let papers = self.papers.iter().map(|paper| serde_json::to_vec(paper).map(Bytes::from));
        let papers = papers.collect::<Result<_, _>>().map_err(|_| Error::Record(self.id))?;
        Ok(PendingRecord { papers, ..self.record.clone() })
    }

    /// The record once a generation has it.
    pub(super) fn published(&self, generation: u64) -> Result<PendingRecord, Error> {
        let state = wire::PendingState::Published.into();
        Ok(PendingRecord { state, generation, ..self.to_record()? })
    }

    /// Whether it waits.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.record.state() == wire::PendingState::Waiting
    }

    /// The stage that it decides on.
    #[must_use]
    pub fn stage(&self) -> Option<Stage> {
        (self.record.kind() == wire::PendingKind::Decision)
            .then(|| convert::stage(self.record.stage).ok())
            .flatten()
    }

    /// The decisions that it is about.
    ///
    /// # Errors
    /// A record that is damaged.
    pub(super) fn decisions(&self) -> Result<Vec<Entry>, Error> {
        let read = |one| Entry::try_from(one).map_err(|_| Error::Record(self.id));
        self.record.changes.iter().cloned().map(read).collect()
    }

    /// The decisions of its stage as they would be.
    ///
    /// # Errors
    /// A record that is damaged.
    pub fn apply(&self, present: &ApprovalSet) -> Result<ApprovalSet, Error> {
        let mut set = present.clone();
        set.version += 1;
        set.entries.extend(self.decisions()?);
        Ok(set)
    }
}

/// Everything that waits, and on request all that ever did, oldest first.
///
/// # Errors
/// The store's, or a record that is damaged.
pub fn list(store: &Store, all: bool) -> Result<Vec<Pending>, Error> {
    let found = store.scan(&PENDING)?.into_iter();
    let read = found.map(|(key, record)| Pending::read(&key, record));
    read.filter(|one| all || one.as_ref().map_or(true, Pending::is_waiting)).collect()
}

/// What the waiting decisions on a stage are about.
///
/// # Errors
/// As [`list`].
pub fn proposed(store: &Store, stage: Stage) -> Result<BTreeSet<(RevisionId, GroupName)>, Error> {
    let mut found = BTreeSet::new();
    for pending in list(store, false)?.into_iter().filter(|one| one.stage() == Some(stage)) {
        found.extend(pending.decisions()?.into_iter().map(|(key, _)| key));
    }
    Ok(found)
}

/// One of them.
///
/// # Errors
/// [`Error::Unknown`] among others.
pub fn get(store: &Store, id: u64) -> Result<Pending, Error> {
    let record = store.get(&PENDING, &key(id))?.ok_or(Error::Unknown(id))?;
    Pending::read(&key(id), record)
}

/// Takes out of a draft what can't be signed here, and writes it down as
/// pending. Returns the numbers.
///
/// # Errors
/// Too many wait, or the store failed.
pub(super) fn withhold(
    signing: &Signing,
    generation: &Generation,
    draft: &mut Draft,
    written: Written,
) -> Result<Vec<u64>, Error> {
    let mut made = Vec::new();
    for stage in Stage::ALL.into_iter().filter(|stage| written.approvals(*stage)) {
        let role = role_of(stage).name();
        let is_signed = draft.papers().iter().any(|paper| *paper.role() == role);
        if signing.is_online(&role) || is_signed {
            continue;
        }
        let proposed = draft.approvals(stage);
        let Some(present) = generation.approvals(stage) else { continue };
        draft.restore_approvals(stage, present.set.clone());
        let changes = diff(&present.set.entries, &proposed.entries);
        let changes: Vec<_> = changes
            .into_iter()
            .filter_map(|one| Some((one.revision, one.group, one.after?)))
            .collect();
        let Some((_, _, first)) = changes.first() else { continue };
        let record = PendingRecord {
            kind: wire::PendingKind::Decision.into(),
            by: first.by.clone(),
            comment: first.comment.clone(),
            stage: patchmesh_proto::wire::Stage::from(stage).into(),
            changes: changes.iter().map(|(id, group, one)| (*id, *group, *one).into()).collect(),
            ..PendingRecord::default()
        };
        let id = next_id(draft.store(), made.len() as u64)?;
        let mut pending = Pending { id, record, papers: Vec::new() };
        draw(signing, generation, &mut pending, draft.now)?;
        pending.record.summary = summary(&pending, signing.repository(), &generation.mesh);
        begin(&mut pending, draft.now);
        draft.put(&PENDING, &key(id), pending.to_record()?);
        made.push(id);
    }
    Ok(made)
}

/// Writes a change down that waits for `papers` to be signed.
///
/// # Errors
/// Too many wait, or the store failed.
pub(super) fn add(
    worker: &Worker,
    record: PendingRecord,
    papers: Vec<Paper>,
    now: Timestamp,
) -> Result<Pending, Error> {
    let store = &worker.press.store;
    let mut pending = Pending { id: next_id(store, 0)?, record, papers };
    let mesh = &worker.current.get().mesh;
    pending.record.summary = summary(&pending, worker.press.signing.repository(), mesh);
    begin(&mut pending, now);
    save(store, &pending)?;
    Ok(pending)
}

fn begin(pending: &mut Pending, now: Timestamp) {
    let record = &mut pending.record;
    record.state = wire::PendingState::Waiting.into();
    record.created_at = now.as_millisecond();
    record.prepared_at = now.as_millisecond();
}

/// The number of the next one, if there is room for it.
fn next_id(store: &Store, more: u64) -> Result<u64, Error> {
    let waiting = list(store, false)?.len();
    if waiting + more as usize >= MAX_WAITING {
        return Err(Error::TooMany);
    }
    let last = store.last(&PENDING)?.and_then(|(key, _)| key.parse::<u64>().ok()).unwrap_or(0);
    Ok(last + 1 + more)
}

/// Adds signatures; publishes with the last one that is needed.
///
/// # Errors
/// The first that does not count, and why; none is kept then.
pub fn sign(worker: &mut Worker, id: u64, given: Vec<Given>) -> Result<Pending, Error> {
    let now = Timestamp::now();
    let store = worker.press.store.clone();
    let mut pending = waiting(&store, id)?;
    if pending.record.kind() == wire::PendingKind::Override {
        return Err(Error::Consent(id));
    }
    let mesh = worker.current.get().mesh.clone();
    let repository = worker.press.signing.repository().ok_or(Error::NoRepository)?;
    let outlook = Outlook::new(repository, &pending.papers)?;
    for Given { role, text_sha256, signature } in given {
        let paper = pending.papers.iter_mut().find(|paper| paper.role().as_str() == role);
        let paper = paper.ok_or(Error::NoPart { id, role: role.clone() })?;
        if crate::identity::sha256(&paper.message()?).as_bytes().as_slice() != text_sha256 {
            return Err(Error::Changed(id));
        }
        let user = outlook.owner(paper.role(), &signature.keyid, &mesh);
        if let Some(user) = user.filter(|user| user.membership == Membership::Revoked) {
            return Err(Error::Revoked(user.name.to_string()));
        }
        let signer = SignerRecord {
            user: user.map(|user| user.name.to_string()).unwrap_or_default(),
            key_id: signature.keyid.as_str().to_owned(),
            role,
            at: now.as_millisecond(),
        };
        outlook.add(paper, signature)?;
        pending.record.signers.push(signer);
    }
    save(&store, &pending)?;
    tracing::info!(pending = id, signatures = pending.record.signers.len(), "pending signed");
    if outlook.is_met(&pending.papers) {
        return publish(worker, pending);
    }
    Ok(pending)
}

/// Publishes what has all its signatures.
///
/// # Errors
/// [`Error::Publish`]; it waits on then.
pub(super) fn publish(worker: &mut Worker, pending: Pending) -> Result<Pending, Error> {
    let record = pending.published(worker.current.get().number + 1)?;
    let done = Pending { record: record.clone(), ..pending.clone() };
    let (id, stage, papers) = (done.id, done.stage(), done.papers.clone());
    let before = worker.held_keys();
    let outcome = worker.change(move |draft| {
        if let Some(stage) = stage {
            let set = pending.apply(&draft.approvals(stage))?;
            draft.set_approvals(set);
        }
        draft.adopt(papers);
        draft.put(&PENDING, &key(id), record);
        Ok::<_, Error>(())
    });
    match outcome {
        Ok(_) => {
            worker.retire(&before);
            Ok(done)
        }
        Err(publisher::Error::Refused(error)) => Err(error),
        Err(publisher::Error::Failed(fault)) => Err(Error::Publish(fault)),
        Err(publisher::Error::Stopped) => Err(Error::NoRepository),
    }
}

/// Publishes what has all its signatures and could not be published when the last
/// one came. What still cannot be does not hold up the rest.
pub(super) fn publish_met(worker: &mut Worker) -> Result<(), Error> {
    let waiting = list(&worker.press.store, false)?;
    for id in waiting.into_iter().map(|one| one.id) {
        if let Err(error) = publish_if_met(worker, id) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(pending = id, error, "what waits is not published");
        }
    }
    Ok(())
}

fn publish_if_met(worker: &mut Worker, id: u64) -> Result<(), Error> {
    // Read anew: what was published just now may have changed it.
    let pending = get(&worker.press.store, id)?;
    let is_signed = !pending.papers.is_empty() && !pending.record.signers.is_empty();
    if !pending.is_waiting() || !is_signed {
        return Ok(());
    }
    let repository = worker.press.signing.repository().ok_or(Error::NoRepository)?;
    if Outlook::new(repository, &pending.papers)?.is_met(&pending.papers) {
        publish(worker, pending)?;
    }
    Ok(())
}

/// Gives a change up.
///
/// # Errors
/// It does not wait, or the store failed.
pub fn withdraw(worker: &Worker, id: u64, note: String) -> Result<Pending, Error> {
    let mut pending = waiting(&worker.press.store, id)?;
    pending.record.state = wire::PendingState::Withdrawn.into();
    pending.record.note = note;
    save(&worker.press.store, &pending)?;
    Ok(pending)
}

/// Looks at everything that waits after something was published: texts that
/// no longer fit are written anew, signatures of people who were shut out are
/// dropped.
pub(super) fn refresh(worker: &Worker, now: Timestamp) -> Result<(), Error> {
    let generation = worker.current.get();
    for mut pending in list(&worker.press.store, false)? {
        let before = pending.clone();
        if let Err(error) = refresh_one(worker, &generation, &mut pending, now) {
            // It can't be had any more: say so rather than wait for ever.
            pending.record.state = wire::PendingState::Withdrawn.into();
            pending.record.note = in_one_line(&error);
        }
        if pending.record != before.record || pending.papers != before.papers {
            tracing::info!(pending = pending.id, note = pending.record.note, "pending changed");
            save(&worker.press.store, &pending)?;
        }
    }
    Ok(())
}

fn refresh_one(
    worker: &Worker,
    generation: &Generation,
    pending: &mut Pending,
    now: Timestamp,
) -> Result<(), Error> {
    let signing = &worker.press.signing;
    let repository = signing.repository().ok_or(Error::NoRepository)?;
    if !fits(repository, generation, pending)? {
        let whole = pending.papers.iter().any(|paper| is_top(paper.role()));
        if whole && !repository.follows(&pending.papers) {
            pending.record.state = wire::PendingState::Withdrawn.into();
            pending.record.note = "other holders were published first; prepare it again".to_owned();
            return Ok(());
        }
        draw(signing, generation, pending, now)?;
        let stands = |role: &str| {
            pending
                .papers
                .iter()
                .any(|paper| paper.role().as_str() == role && !paper.signatures().is_empty())
        };
        pending.record.signers.retain(|signer| stands(&signer.role));
        pending.record.prepared_at = now.as_millisecond();
        pending.record.note =
            "another change came first: it was prepared anew and has to be signed again".to_owned();
    }
    drop_revoked(repository, &generation.mesh, pending)
}

fn drop_revoked(repository: &Repository, mesh: &Mesh, pending: &mut Pending) -> Result<(), Error> {
    let outlook = Outlook::new(repository, &pending.papers)?;
    for paper in &mut pending.papers {
        let role = paper.role().clone();
        let is_revoked = |id: &KeyId| {
            let owner = outlook.owner(&role, id, mesh);
            owner.is_some_and(|user| user.membership == Membership::Revoked)
        };
        paper.retain(|id| !is_revoked(id));
        let gone = |signer: &SignerRecord| {
            signer.role == role.as_str() && is_revoked(&KeyId::from(signer.key_id.clone()))
        };
        pending.record.signers.retain(|signer| !gone(signer));
    }
    Ok(())
}

/// Whether what is to be signed still goes with what is published.
fn fits(
    repository: &Repository,
    generation: &Generation,
    pending: &Pending,
) -> Result<bool, Error> {
    if !repository.follows(&pending.papers) {
        return Ok(false);
    }
    let Some(stage) = pending.stage() else { return Ok(true) };
    let entries = entries(generation, pending, stage)?;
    let holders = |paper: &Paper| {
        paper.signatures().iter().all(|signature| {
            let authority = repository.authority(paper.role());
            authority.is_some_and(|one| one.holders.keyids().contains(&signature.keyid))
        })
    };
    Ok(pending.papers.iter().all(|paper| repository.names(paper, &entries) && holders(paper)))
}

/// Writes the texts of the mesh's roles anew, unsigned; root and top-level
/// targets stay as they are.
fn draw(
    signing: &Signing,
    generation: &Generation,
    pending: &mut Pending,
    now: Timestamp,
) -> Result<(), Error> {
    let repository = signing.repository().ok_or(Error::NoRepository)?;
    if let Some(stage) = pending.stage() {
        let entries = entries(generation, pending, stage)?;
        pending.papers = vec![repository.draw_up(role_of(stage), Some(&entries), now)?];
        return Ok(());
    }
    for paper in pending.papers.iter_mut().filter(|paper| !is_top(paper.role())) {
        let role = MeshRole::ALL.into_iter().find(|role| role.name() == *paper.role());
        if let Some(role) = role
            && !repository.follows(std::slice::from_ref(paper))
        {
            *paper = repository.draw_up(role, None, now)?;
        }
    }
    Ok(())
}

/// What the role of `stage` would name.
fn entries(
    generation: &Generation,
    pending: &Pending,
    stage: Stage,
) -> Result<Vec<TargetEntry>, Error> {
    let present = generation.approvals(stage).ok_or(Error::Record(pending.id))?;
    let cut = set::cut_approvals(&pending.apply(&present.set)?);
    let path = TargetPath::new(names::approvals(stage)).map_err(|_| Error::Record(pending.id))?;
    Ok(vec![TargetEntry::of(path, &cut.index)])
}

/// Asks those who hold a stage to sign its decisions again before they expire.
pub(super) fn ask_for_renewals(worker: &Worker, now: Timestamp) -> Result<(), Error> {
    let signing = &worker.press.signing;
    let Some(repository) = signing.repository() else { return Ok(()) };
    let waiting = list(&worker.press.store, false)?;
    let asked = |role: &RoleName| {
        waiting.iter().any(|one| {
            one.record.kind() != wire::PendingKind::Decision
                && one.papers.iter().any(|paper| paper.role() == role)
        })
    };
    for role in Stage::ALL.map(role_of) {
        let custody = signing.custody(now).into_iter().find(|one| one.role == role.name());
        let is_due = custody.is_some_and(|one| one.is_due && !one.is_online);
        if !is_due || asked(&role.name()) {
            continue;
        }
        let record = PendingRecord {
            kind: wire::PendingKind::Renewal.into(),
            by: "the primary".to_owned(),
            comment: format!("what the role {role} signed expires soon"),
            ..PendingRecord::default()
        };
        let paper = repository.draw_up(role, None, now)?;
        let made = add(worker, record, vec![paper], now)?;
        tracing::warn!(pending = made.id, %role, "its holders have to sign it again");
    }
    Ok(())
}

/// What a pending change would change as things are now, in words. Once it
/// waits no longer only what its record says is true of it.
#[must_use]
pub fn summary(pending: &Pending, repository: Option<&Repository>, mesh: &Mesh) -> Vec<String> {
    match (pending.record.kind(), repository) {
        (wire::PendingKind::Roles, Some(repository)) => {
            let name = |key: &crate::tuf::key::Key| {
                let bytes = key.ed25519_bytes()?;
                mesh.signer(&bytes).map(|user| user.name.to_string())
            };
            let after = repository.after(&pending.papers);
            after.map_or_else(
                |error| vec![in_one_line(&error)],
                |(root, top)| {
                    let now = (repository.root(), repository.top());
                    ceremony::summary(now, (&root, &top), name)
                },
            )
        }
        (wire::PendingKind::Renewal, _) => pending
            .papers
            .iter()
            .map(|paper| format!("{}: the same decisions, good for another year", paper.role()))
            .collect(),
        (wire::PendingKind::Override, _) => pending.record.summary.clone(),
        _ => counted(&pending.record),
    }
}

fn counted(record: &PendingRecord) -> Vec<String> {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for change in &record.changes {
        let word = if change.decision() == patchmesh_proto::wire::Decision::Approved {
            "approved"
        } else {
            "declined"
        };
        *words.entry(word).or_default() += 1;
    }
    words.into_iter().map(|(word, count)| format!("{count} {word}")).collect()
}

/// One that waits.
///
/// # Errors
/// [`Error::Unknown`], or [`Error::Over`].
pub(super) fn waiting(store: &Store, id: u64) -> Result<Pending, Error> {
    let pending = get(store, id)?;
    let state = match pending.record.state() {
        wire::PendingState::Waiting => return Ok(pending),
        wire::PendingState::Published => "published",
        _ => "withdrawn",
    };
    Err(Error::Over { id, state })
}

fn save(store: &Store, pending: &Pending) -> Result<(), Error> {
    Ok(store.put(&PENDING, &key(pending.id), &pending.to_record()?)?)
}

fn is_top(role: &RoleName) -> bool {
    role.is_top_level()
}

/// Keys sort as numbers do.
pub(super) fn key(id: u64) -> String {
    format!("{id:012}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
