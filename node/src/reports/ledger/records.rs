//! What the primary keeps of machines. The tables of machines and their words are
//! large; a standby does not copy them, since machines prove themselves anew by
//! their certificates. Tokens and revocations are few, and it does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use patchmesh_proto::convert::{self, timestamp_to_wire};
use patchmesh_proto::report as wire;
use patchmesh_topology::compliance::Told;
use patchmesh_topology::digest::Sha256;
use patchmesh_topology::name::{GroupName, MachineName, Site};
use patchmesh_topology::report::{Event, is_looping};
use patchmesh_topology::revision::RevisionId;
use patchmesh_topology::tally::{Last, Machine, News, Outcome, Phase, Place, Position, Standing};

use crate::reports::held::EpochRecord;
use crate::store::{self, Store, Table, Tag};

/// Every machine by name.
pub static MACHINES: Table<str, MachineRecord> = Table::new(Tag::Machine, 1);

/// Every machine's last words: its name, a blank, the revision. Neither has a
/// blank in it.
pub static WORDS: Table<str, WordRecord> = Table::new(Tag::MachineWord, 1);

/// Tokens with which machines join, by id.
pub static TOKENS: Table<str, GroupTokenRecord> = Table::new(Tag::MachineToken, 1);

/// Machines that were shut out, by name.
pub static REVOKED: Table<str, RevokedRecord> = Table::new(Tag::MachineRevoked, 1);

/// A token for machines of a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupTokenRecord {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The node that its holders ask.
    #[prost(string, tag = "2")]
    pub via: String,
    /// All that is kept of the secret.
    #[prost(bytes = "vec", tag = "3")]
    pub secret_sha256: Vec<u8>,
    /// When it was made; lets in again only whoever joined before.
    #[prost(message, optional, tag = "4")]
    pub made_at: Option<prost_types::Timestamp>,
    /// When it ends.
    #[prost(message, optional, tag = "5")]
    pub expires_at: Option<prost_types::Timestamp>,
    /// How many more machines it lets in.
    #[prost(uint32, tag = "6")]
    pub uses_left: u32,
    /// Who made it.
    #[prost(string, tag = "7")]
    pub by: String,
}

/// A machine that was shut out.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RevokedRecord {
    /// When.
    #[prost(message, optional, tag = "1")]
    pub at: Option<prost_types::Timestamp>,
    /// By whom.
    #[prost(string, tag = "2")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub comment: String,
}

/// A machine.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MachineRecord {
    /// Its group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Where it is.
    #[prost(string, tag = "2")]
    pub site: String,
    /// SHA-256 of its key's SubjectPublicKeyInfo.
    #[prost(bytes = "vec", tag = "3")]
    pub key: Vec<u8>,
    /// When it joined with this key.
    #[prost(message, optional, tag = "4")]
    pub enrolled_at: Option<prost_types::Timestamp>,
    /// With which token.
    #[prost(string, tag = "5")]
    pub token_id: String,
    /// When it last spoke, by its own clock.
    #[prost(message, optional, tag = "6")]
    pub seen_at: Option<prost_types::Timestamp>,
    /// The batch that said where it is and what else is known of it.
    #[prost(message, optional, tag = "7")]
    pub told: Option<ToldRecord>,
    /// What it said of itself.
    #[prost(message, repeated, tag = "8")]
    pub facts: Vec<FactRecord>,
    /// Which of its events are counted, with this key or before in the same epoch.
    #[prost(message, repeated, tag = "9")]
    pub epochs: Vec<EpochRecord>,
    /// Events counted with this key, by outcome in the order of [`Outcome::ALL`].
    #[prost(uint64, repeated, tag = "10")]
    pub outcomes: Vec<u64>,
    /// Events that came late, signed with a key from before it joined again: they
    /// are known to have happened, and say nothing about it now.
    #[prost(uint64, tag = "11")]
    pub late: u64,
    /// Where its node saw it; empty where that was not said.
    #[prost(string, tag = "12")]
    pub seen_from: String,
    /// Events of all these that came rolled up.
    #[prost(uint64, tag = "13")]
    pub rolled_up: u64,
    /// Which events are counted of keys from before it joined again. They are kept apart:
    /// who has one of these must not have a say in what is taken of the machine now.
    #[prost(message, repeated, tag = "14")]
    pub late_epochs: Vec<EpochRecord>,
}

/// Which batch said something.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToldRecord {
    /// When its epoch began.
    #[prost(message, optional, tag = "1")]
    pub began: Option<prost_types::Timestamp>,
    /// Its epoch.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// When it was made.
    #[prost(message, optional, tag = "3")]
    pub made_at: Option<prost_types::Timestamp>,
}

/// Something that a machine said of itself.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FactRecord {
    /// What.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A machine's last word on a revision.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WordRecord {
    /// The step.
    #[prost(enumeration = "wire::Phase", tag = "1")]
    pub phase: i32,
    /// How it went.
    #[prost(enumeration = "wire::Outcome", tag = "2")]
    pub outcome: i32,
    /// The installer's code.
    #[prost(sint64, tag = "3")]
    pub code: i64,
    /// For people.
    #[prost(string, tag = "4")]
    pub message: String,
    /// When, by the machine's clock.
    #[prost(message, optional, tag = "5")]
    pub at: Option<prost_types::Timestamp>,
    /// When its epoch began.
    #[prost(message, optional, tag = "6")]
    pub began: Option<prost_types::Timestamp>,
    /// Its epoch.
    #[prost(fixed64, tag = "7")]
    pub epoch: u64,
    /// Its number.
    #[prost(uint64, tag = "8")]
    pub sequence: u64,
}

impl WordRecord {
    /// Of an event that said it.
    #[must_use]
    pub fn new(event: &Event, last: &Last) -> Self {
        Self {
            phase: wire::Phase::from(event.phase).into(),
            outcome: wire::Outcome::from(event.outcome).into(),
            code: event.code,
            message: event.message.clone(),
            at: Some(timestamp_to_wire(last.at)),
            began: Some(timestamp_to_wire(last.position.began)),
            epoch: last.position.epoch,
            sequence: last.position.sequence,
        }
    }

    /// What it says; nothing where the record is damaged.
    #[must_use]
    pub fn last(&self) -> Option<Last> {
        let (phase, outcome) = self.step()?;
        Some(Last {
            position: Position {
                began: convert::time(self.began).ok()?,
                epoch: self.epoch,
                sequence: self.sequence,
            },
            phase,
            standing: Standing::of(phase, outcome),
            code: self.code,
            is_looping: is_looping(outcome, &self.message),
            at: convert::time(self.at).ok()?,
        })
    }

    /// The step, and how it went.
    #[must_use]
    pub fn step(&self) -> Option<(Phase, Outcome)> {
        Some((convert::phase(self.phase).ok()?, convert::outcome(self.outcome).ok()?))
    }
}

impl MachineRecord {
    /// Where it counts; nothing where the record is damaged.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let site: Site = self.site.parse().ok()?;
        let group: GroupName = self.group.parse().ok()?;
        Some(Place { site, group })
    }

    /// As it is counted, without its words.
    #[must_use]
    pub fn bare(&self) -> Option<Machine> {
        let mut machine = Machine::new(self.place()?);
        machine.seen = self.seen_at.and_then(|at| convert::time(Some(at)).ok());
        Some(machine)
    }

    /// What it says of itself, as far as it counts.
    #[must_use]
    pub fn says(&self) -> Told {
        let facts = self.facts.iter().map(|fact| (fact.name.as_str(), fact.value.as_str()));
        Told { address: self.seen_from.parse().ok(), ..Told::of(facts) }
    }

    /// When it joined with its key.
    #[must_use]
    pub fn enrolled(&self) -> Timestamp {
        convert::time(self.enrolled_at).unwrap_or_default()
    }

    /// The key that it joined with.
    #[must_use]
    pub fn key(&self) -> Option<Sha256> {
        Sha256::try_from(self.key.as_slice()).ok()
    }

    /// All events that were counted, each once.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.outcomes.iter().fold(self.late, |sum, count| sum.saturating_add(*count))
    }
}

/// The key of a machine's word on a revision.
#[must_use]
pub fn word_key(machine: &str, revision: &RevisionId) -> String {
    format!("{machine} {revision}")
}

/// A machine's last words. Blocks.
///
/// # Errors
/// A failing disk.
pub fn words_of(
    store: &Store,
    machine: &MachineName,
) -> Result<BTreeMap<RevisionId, WordRecord>, store::Error> {
    let records = store.scan_prefix(&WORDS, &format!("{machine} "))?;
    let word = |(key, record): (String, WordRecord)| {
        let (_, revision) = key.split_once(' ')?;
        Some((revision.parse().ok()?, record))
    };
    Ok(records.into_iter().filter_map(word).collect())
}

/// News that say a machine's words, as they are stored.
#[must_use]
pub fn as_news(words: &BTreeMap<RevisionId, WordRecord>) -> News {
    let word =
        |(revision, record): (&RevisionId, &WordRecord)| Some((revision.clone(), record.last()?));
    News { words: words.iter().filter_map(word).collect(), ..News::default() }
}
