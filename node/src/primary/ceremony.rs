//! Changing who holds the signed roles: the primary's side.
//!
//! The rules of what a change may be are `tuf::ceremony`'s. Here people's
//! names become keys, new keys for online roles are made, and what the root
//! key signed is published, at once or when the new holders have signed what
//! they hold.
//!
//! What always holds: the roles that the primary signs by itself keep enough
//! keys on this host, and no key of a person who was shut out gets a role.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use patchmesh_proto::admin as wire;
use patchmesh_topology::name::UserName;
use patchmesh_topology::node::{Membership, Mesh, Stage};
use patchmesh_topology::person::User;

use super::pending::{self, Outlook, Pending};
use super::publisher::{Fault, Worker};
use super::records::PendingRecord;
use crate::tuf::ceremony::{self, Change, Holding, Request};
use crate::tuf::key::{self, Key};
use crate::tuf::layout::MeshRole;
use crate::tuf::paper::{Paper, Refused};
use crate::tuf::repository::{self, RoleKeys};
use crate::tuf::{RoleName, signing};

/// Roles that people may hold, so that their keys need not be on the primary.
const FOR_PEOPLE: [RoleName; 4] =
    [RoleName::ROOT, RoleName::TARGETS, MeshRole::Validation.name(), MeshRole::Production.name()];

/// Why holders were not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The change itself.
    #[error(transparent)]
    Change(#[from] ceremony::Error),
    /// Nobody of that name.
    #[error("there is no user {0}; `patchmesh user list` lists them")]
    UnknownUser(UserName),
    /// Somebody without a key.
    #[error(
        "user {0} has no signing key: invite them, and let them join with `patchmesh user join`"
    )]
    NoSigningKey(UserName),
    /// Somebody who was shut out.
    #[error("user {0} was revoked: they can't hold a role")]
    Revoked(UserName),
    /// Somebody who could never hand a signature in.
    #[error(
        "user {user} does not decide on {stage}: they could sign, but not hand it in; invite them with --role approver:{stage}, after `patchmesh user revoke {user}`"
    )]
    NoApprover {
        /// Who.
        user: UserName,
        /// What they would hold.
        stage: Stage,
    },
    /// Not a key.
    #[error("a public key given can't be used")]
    Key(#[from] key::Error),
    /// No holder has that key.
    #[error("no role is held by a key that begins with {0}")]
    NoSuchKey(String),
    /// The beginning of several keys.
    #[error("several keys begin with {0}; write more of it")]
    Ambiguous(String),
    /// The primary could not go on.
    #[error(
        "the primary signs {0} by itself, day and night: its key has to stay there (use `root prepare --rotate {0}` for a new one)"
    )]
    Online(RoleName),
    /// People's keys are not made here.
    #[error(
        "the key of {0} is not on this host, so none can be made here in its place; name new keys instead"
    )]
    NotHere(RoleName),
    /// There is no folder of keys.
    #[error("this primary has no folder for keys")]
    NoFolder,
    /// A new key.
    #[error("a new key could not be made")]
    Make(#[from] signing::Error),
    /// The root key is elsewhere.
    #[error(
        "the root key is not on this host: use `patchmesh root prepare`, and sign where the key is"
    )]
    NoRootKey,
    /// Not signed, or not by enough.
    #[error(
        "role {role} has {signatures} of the {threshold} signatures that it needs; sign with `patchmesh root sign`"
    )]
    TooFew {
        /// The role.
        role: RoleName,
        /// How many there are.
        signatures: usize,
        /// How many there must be.
        threshold: usize,
    },
    /// Signed before the last change.
    #[error(
        "this was prepared before the holders changed the last time; prepare and sign it again"
    )]
    Stale,
    /// Nothing that changes a role.
    #[error("there is nothing in it that the root key signs")]
    Empty,
    /// A signature.
    #[error(transparent)]
    Signature(#[from] Refused),
    /// The metadata.
    #[error("the metadata can't be drawn up")]
    Draw(#[from] repository::Error),
    /// Keeping it until people have signed.
    #[error(transparent)]
    Pending(#[from] pending::Error),
    /// Publishing.
    #[error("it could not be published; nothing was changed")]
    Publish(#[source] Arc<Fault>),
}

/// New holders of one role, as somebody asks for them.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    /// The role.
    pub role: String,
    /// Ed25519 keys; with `users`, all there will be. Neither: as it is.
    pub public_keys: Vec<Vec<u8>>,
    /// People, for their keys.
    pub users: Vec<UserName>,
    /// 0: as it is.
    pub threshold: u32,
}

/// A change of holders, as somebody asks for it.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// New holders.
    pub holders: Vec<Holders>,
    /// Roles that get a new key on this host.
    pub rotate: Vec<String>,
    /// Beginnings of the ids of keys that hold nothing any more.
    pub remove: Vec<String>,
    /// Write root and targets anew in any case.
    pub renew: bool,
}

/// What became of a change that was signed.
#[derive(Debug)]
pub enum Outcome {
    /// It is published, in this generation.
    Published(u64),
    /// The new holders have to sign what they hold.
    Waits(Box<Pending>),
}

/// Writes the next root and top-level targets, unsigned.
///
/// # Errors
/// What the change would break, among others.
pub fn prepare(worker: &mut Worker, wanted: &Wanted, now: Timestamp) -> Result<Vec<Paper>, Error> {
    let mesh = worker.current.get().mesh.clone();
    let mut change = Change::new();
    for holders in &wanted.holders {
        let role = ceremony::role(&holders.role)?;
        let holding = wanted_holding(worker, &mesh, &role, holders)?;
        change.insert(role, holding);
    }
    for removed in &wanted.remove {
        remove(worker, &mut change, removed)?;
    }
    for name in &wanted.rotate {
        let role = ceremony::role(name)?;
        let online = worker.press.signing.is_online(&role);
        if !online || role == RoleName::TARGETS {
            return Err(Error::NotHere(role));
        }
        let keys = worker.press.signing.keys_mut();
        let folder: PathBuf = keys.folder().ok_or(Error::NoFolder)?.to_owned();
        let key = keys.rotate(&role, &folder)?;
        change.insert(role, Holding { keys: vec![key], threshold: 1 });
    }
    let signing = &worker.press.signing;
    let repository = signing.repository().ok_or(pending::Error::NoRepository)?;
    let request = Request { change, renew: wanted.renew };
    let papers = ceremony::prepare(repository.root(), repository.top(), &request, now)?;
    check_online(signing.keys(), &Outlook::new(repository, &papers)?)?;
    Ok(papers)
}

fn wanted_holding(
    worker: &Worker,
    mesh: &Mesh,
    role: &RoleName,
    holders: &Holders,
) -> Result<Holding, Error> {
    let present = present(worker, role)?;
    let mut keys = Vec::new();
    for bytes in &holders.public_keys {
        let key = Key::ed25519(bytes);
        key.fingerprint()?;
        if let Some(user) = mesh.signer(bytes) {
            check_person(user, role)?;
        }
        keys.push(key);
    }
    for name in &holders.users {
        let user = mesh.users.get(name).ok_or_else(|| Error::UnknownUser(name.clone()))?;
        check_person(user, role)?;
        let key = user.signing_key.ok_or_else(|| Error::NoSigningKey(name.clone()))?;
        keys.push(Key::ed25519(&key));
    }
    if keys.is_empty() {
        keys = present.keys;
    }
    let threshold = match holders.threshold {
        0 => present.threshold,
        threshold => threshold,
    };
    Ok(Holding { keys, threshold })
}

/// Whether a person's signature for `role` could ever count.
fn check_person(user: &User, role: &RoleName) -> Result<(), Error> {
    if user.membership == Membership::Revoked {
        return Err(Error::Revoked(user.name.clone()));
    }
    let stage = Stage::ALL.into_iter().find(|stage| pending::role_of(*stage).name() == *role);
    match stage {
        // What the root key signs is handed in as a file, by whomever.
        None => Ok(()),
        Some(stage) if user.decides(stage) => Ok(()),
        Some(_) if !user.has_joined() => Ok(()),
        Some(stage) => Err(Error::NoApprover { user: user.name.clone(), stage }),
    }
}

fn present(worker: &Worker, role: &RoleName) -> Result<Holding, Error> {
    let repository = worker.press.signing.repository().ok_or(pending::Error::NoRepository)?;
    let holding = ceremony::holding(repository.root(), repository.top(), role);
    Ok(holding.ok_or(ceremony::Error::NoDelegations)?)
}

/// Takes a key from every role.
fn remove(worker: &Worker, change: &mut Change, beginning: &str) -> Result<(), Error> {
    let mut ids = BTreeSet::new();
    let mut holdings = Vec::new();
    for role in ceremony::roles() {
        let holding = match change.get(&role) {
            Some(holding) => holding.clone(),
            None => present(worker, &role)?,
        };
        let is_meant = |key: &Key| key.id().is_ok_and(|id| id.as_str().starts_with(beginning));
        let meant: Vec<_> = holding.keys.iter().filter(|key| is_meant(key)).cloned().collect();
        if meant.is_empty() {
            continue;
        }
        ids.extend(meant.iter().filter_map(|key| key.id().ok()));
        let keys = holding.keys.into_iter().filter(|key| !is_meant(key)).collect();
        holdings.push((role, Holding { keys, ..holding }));
    }
    match ids.len() {
        0 => Err(Error::NoSuchKey(beginning.to_owned())),
        1 if !beginning.is_empty() => {
            change.extend(holdings);
            Ok(())
        }
        _ => Err(Error::Ambiguous(beginning.to_owned())),
    }
}

/// The roles that the primary signs day and night keep their keys here.
fn check_online(keys: &RoleKeys, outlook: &Outlook) -> Result<(), Error> {
    for role in ceremony::roles().filter(|role| !FOR_PEOPLE.contains(role)) {
        let reached = outlook.after(&role).is_some_and(|authority| keys.reach(authority));
        if !reached {
            return Err(Error::Online(role));
        }
    }
    Ok(())
}

/// Signs with the keys on this host whatever they may sign.
///
/// # Errors
/// The root key is not among them.
pub fn sign_here(worker: &Worker, papers: &mut [Paper]) -> Result<(), Error> {
    let signing = &worker.press.signing;
    if !signing.is_online(&RoleName::ROOT) {
        return Err(Error::NoRootKey);
    }
    let repository = signing.repository().ok_or(pending::Error::NoRepository)?;
    let outlook = Outlook::new(repository, papers)?;
    for paper in papers {
        let missing = outlook.missing(paper);
        signing.keys().countersign(paper, &missing)?;
    }
    Ok(())
}

/// Publishes what was signed, or keeps it until the new holders have signed
/// what they hold.
///
/// # Errors
/// Not signed by enough, or prepared before the last change.
pub fn publish(
    worker: &mut Worker,
    papers: Vec<Paper>,
    by: String,
    comment: String,
    now: Timestamp,
) -> Result<Outcome, Error> {
    let (mut papers, given): (Vec<_>, Vec<_>) = papers
        .into_iter()
        .partition(|paper| [RoleName::ROOT, RoleName::TARGETS].contains(paper.role()));
    if papers.is_empty() {
        return Err(Error::Empty);
    }
    let signing = &worker.press.signing;
    let repository = signing.repository().ok_or(pending::Error::NoRepository)?;
    if !repository.follows(&papers) {
        return Err(Error::Stale);
    }
    let outlook = Outlook::new(repository, &papers)?;
    check_online(signing.keys(), &outlook)?;
    for paper in &papers {
        let standing = outlook.worst(paper).ok_or(ceremony::Error::NoDelegations)?;
        if !standing.is_met() {
            let (role, threshold) = (paper.role().clone(), standing.threshold);
            return Err(Error::TooFew { role, signatures: standing.signed.len(), threshold });
        }
    }
    for role in repository.unsettled_by(&papers)? {
        let is_online = outlook.after(&role.name()).is_some_and(|one| signing.keys().reach(one));
        if is_online {
            continue;
        }
        let drawn = repository.draw_up(role, None, now)?;
        let signed = given.iter().find(|paper| {
            *paper.role() == role.name()
                && repository.follows(std::slice::from_ref(*paper))
                && repository.says_the_same(paper)
        });
        papers.push(signed.cloned().unwrap_or(drawn));
    }
    let outlook = Outlook::new(repository, &papers)?;
    for paper in &mut papers {
        let missing = outlook.missing(paper);
        signing.keys().countersign(paper, &missing)?;
    }
    let record = PendingRecord {
        kind: wire::PendingKind::Roles.into(),
        by,
        comment,
        ..PendingRecord::default()
    };
    let is_met = outlook.is_met(&papers);
    let pending = pending::add(worker, record, papers, now)?;
    if !is_met {
        tracing::info!(pending = pending.id, "a change of holders waits for the new ones");
        return Ok(Outcome::Waits(Box::new(pending)));
    }
    let id = pending.id;
    match pending::publish(worker, pending) {
        Ok(done) => Ok(Outcome::Published(done.record.generation)),
        Err(error) => {
            // It is not to wait: whoever asked is told.
            let note = crate::log::in_one_line(&error);
            pending::withdraw(worker, id, note)?;
            Err(error.into())
        }
    }
}
