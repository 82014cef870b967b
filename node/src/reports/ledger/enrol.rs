//! Letting machines in, and shutting them out.
//!
//! A name has one key. Another key takes its place only with a token that was made
//! *after* the machine joined or was shut out: so a token that lets in fifty new
//! machines lets nobody take the place of one that is there.

use jiff::Timestamp;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName, NodeName};
use patchmesh_topology::node::Mesh;
use patchmesh_topology::tally::Machine;

use super::book::{Draft, Known};
use super::records::{GroupTokenRecord, MachineRecord, RevokedRecord, TOKENS};
use super::{MAX_MACHINES, NewToken};
use crate::identity::authority::{Applicant, Attempt};
use crate::store;

/// Why nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// No such group.
    #[error("there is no group {0}; `patchmesh group list` shows those there are")]
    Group(GroupName),
    /// No such token.
    #[error("the primary knows no such token; make one with `patchmesh machine token`")]
    Unknown,
    /// The secret is not that of the token.
    #[error("the token was altered; copy it again, or make another with `patchmesh machine token`")]
    Wrong,
    /// It is for another group.
    #[error("the token is for group {0}")]
    OtherGroup(String),
    /// Its time is over.
    #[error("the token expired at {0}; make another with `patchmesh machine token`")]
    Expired(Timestamp),
    /// All its uses are used up.
    #[error(
        "the token has let in as many machines as it was made for; make another with `patchmesh machine token`"
    )]
    Used,
    /// The name has another key.
    #[error(
        "machine {0} has joined already with another key; if it was set up anew, make a new token for it with `patchmesh machine token`: this one is older than the machine"
    )]
    Taken(MachineName),
    /// The mesh is full.
    #[error(
        "the mesh has {MAX_MACHINES} machines, and no more are kept; revoke those that are gone"
    )]
    TooMany,
    /// No such machine.
    #[error("there is no machine {0}; `patchmesh machine list` shows those there are")]
    NoMachine(MachineName),
    /// No machine wants to join: a fault of this program.
    #[error("this is not a machine's request")]
    NotAMachine,
    /// The disk.
    #[error("the store failed")]
    Store(#[from] std::sync::Arc<store::Error>),
    /// The node is about to end.
    #[error("the node is shutting down; nothing was changed")]
    Stopped,
}

/// A machine was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// SHA-256 of the token's secret, to prove the answer with.
    pub secret_sha256: Sha256,
    /// The node that the token names.
    pub via: NodeName,
}

impl Draft<'_> {
    pub(super) fn make_token(&mut self, token: NewToken) -> Result<(), Refusal> {
        if !self.mesh.groups.contains_key(&token.group) {
            return Err(Refusal::Group(token.group));
        }
        let record = GroupTokenRecord {
            group: token.group.to_string(),
            via: token.via.to_string(),
            secret_sha256: token.secret_sha256.as_bytes().to_vec(),
            made_at: Some(timestamp_to_wire(self.now)),
            expires_at: Some(timestamp_to_wire(self.now + token.life)),
            uses_left: token.uses,
            by: token.by,
        };
        self.tokens.insert(token.id, record);
        Ok(())
    }

    pub(super) fn enrol(&mut self, attempt: &Attempt) -> Result<Enrolled, Refusal> {
        let Applicant::Machine { name, group, token_id } = &attempt.applicant else {
            return Err(Refusal::NotAMachine);
        };
        let mut token = self.token(token_id)?.ok_or(Refusal::Unknown)?;
        let secret = Sha256::try_from(token.secret_sha256.as_slice());
        let secret_sha256 = secret.map_err(|_| Refusal::Unknown)?;
        if !attempt.proves(&secret_sha256) {
            return Err(Refusal::Wrong);
        }
        if token.group != group.as_str() {
            return Err(Refusal::OtherGroup(token.group));
        }
        let expires_at = convert::time(token.expires_at).unwrap_or_default();
        if expires_at < self.now {
            return Err(Refusal::Expired(expires_at));
        }
        if !self.mesh.groups.contains_key(group) {
            return Err(Refusal::Group(group.clone()));
        }
        let via = via(&self.mesh, &token.via).ok_or(Refusal::Unknown)?;
        let enrolled = Enrolled { secret_sha256, via };
        let (now, made_at) = (self.now, convert::time(token.made_at).unwrap_or_default());
        let known = self.known(name)?;
        // Its answer got lost on the way: it may have it again.
        if known.is_member_with(attempt.spki_sha256, token_id) {
            return Ok(enrolled);
        }
        if token.uses_left == 0 {
            return Err(Refusal::Used);
        }
        if known.since().is_some_and(|since| since >= made_at) {
            return Err(Refusal::Taken(name.clone()));
        }
        if known.record.is_none() && self.machines >= MAX_MACHINES {
            return Err(Refusal::TooMany);
        }
        token.uses_left -= 1;
        self.tokens.insert(token_id.clone(), token);
        let site = self.mesh.node(&enrolled.via).map(|node| node.site.to_string());
        let record = MachineRecord {
            group: group.to_string(),
            site: site.unwrap_or_default(),
            key: attempt.spki_sha256.as_bytes().to_vec(),
            enrolled_at: Some(timestamp_to_wire(now)),
            token_id: token_id.clone(),
            ..MachineRecord::default()
        };
        self.begin_anew(name, record)?;
        Ok(enrolled)
    }

    pub(super) fn revoke(
        &mut self,
        name: &MachineName,
        by: String,
        comment: String,
    ) -> Result<(), Refusal> {
        let at = Some(timestamp_to_wire(self.now));
        let known = self.known(name)?;
        if known.record.is_none() {
            return Err(Refusal::NoMachine(name.clone()));
        }
        if known.revoked.is_none() {
            known.revoked = Some(RevokedRecord { at, by, comment });
            known.revocation_changed = true;
            known.leave();
        }
        Ok(())
    }

    /// A machine begins from nothing: what an earlier one of its name said says
    /// nothing about it. Which events are counted stays known.
    pub(super) fn begin_anew(
        &mut self,
        name: &MachineName,
        mut record: MachineRecord,
    ) -> Result<(), std::sync::Arc<store::Error>> {
        let known = self.known(name)?;
        let is_new = known.record.is_none();
        if let Some(old) = known.record.take() {
            record.late = old.events();
            record.rolled_up = old.rolled_up;
        }
        let before = std::mem::take(&mut known.held);
        known.late.absorb(before);
        if known.revoked.take().is_some() {
            known.revocation_changed = true;
        }
        known.leave();
        known.forget_words();
        let machine = record.bare();
        known.record = Some(record);
        known.changed = true;
        if let Some(machine) = machine {
            known.enter(machine);
        }
        if is_new {
            self.machines += 1;
        }
        Ok(())
    }

    /// A token by its id.
    fn token(&self, id: &str) -> Result<Option<GroupTokenRecord>, std::sync::Arc<store::Error>> {
        match self.tokens.get(id) {
            Some(token) => Ok(Some(token.clone())),
            None => Ok(self.store.get(&TOKENS, id)?),
        }
    }
}

impl Known {
    /// Whether the machine takes part with this key, let in by this token.
    fn is_member_with(&self, key: Sha256, token_id: &str) -> bool {
        let is_same =
            |record: &MachineRecord| record.key() == Some(key) && record.token_id == token_id;
        self.revoked.is_none() && self.record.as_ref().is_some_and(is_same)
    }

    /// Since when it has been in, or out.
    fn since(&self) -> Option<Timestamp> {
        let revoked = self.revoked.as_ref().map(|one| convert::time(one.at).unwrap_or_default());
        self.record.as_ref().map(MachineRecord::enrolled).max(revoked)
    }

    fn enter(&mut self, machine: Machine) {
        self.machine = Some(machine.clone());
        self.steps.push(super::book::Step::Enter(machine));
    }

    fn leave(&mut self) {
        if self.machine.take().is_some() {
            self.steps.push(super::book::Step::Leave);
        }
    }
}

/// The node that a token names, or the primary where that one is gone.
fn via(mesh: &Mesh, name: &str) -> Option<NodeName> {
    let named = name.parse().ok().filter(|name| mesh.node(name).is_some());
    named.or_else(|| mesh.primary().map(|node| node.name.clone()))
}
