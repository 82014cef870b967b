//! What the primary keeps for itself beside the signed documents: sources,
//! how far each was synchronised, and the tokens handed out. Stored as
//! protobuf under a name each.

use patchmesh_proto::admin::{PendingKind, PendingState, Source};
use patchmesh_proto::wire::{Approval, Stage};
use prost::Message;

use crate::store::{Table, Tag};

/// Sources by name, as they were added.
pub static SOURCES: Table<str, Source> = Table::new(Tag::Source, 1);
/// How far each source was synchronised, by its name.
pub static SYNCS: Table<str, SyncRecord> = Table::new(Tag::SourceState, 1);
/// What each source's vendor had at the last synchronisation, by its name.
pub static RELEASES: Table<str, ReleaseRecord> = Table::new(Tag::Release, 1);
/// When each source is synchronised by itself, by its name.
pub static PLANS: Table<str, PlanRecord> = Table::new(Tag::SourcePlan, 1);
/// The token last handed out for each node, by its name.
pub static TOKENS: Table<str, TokenRecord> = Table::new(Tag::JoinToken, 1);

/// What waits for people's signatures, by number.
pub static PENDING: Table<str, PendingRecord> = Table::new(Tag::Pending, 1);

/// A change that waits for signatures, or waited.
#[derive(Clone, PartialEq, Message)]
pub struct PendingRecord {
    /// What it is.
    #[prost(enumeration = "PendingKind", tag = "1")]
    pub kind: i32,
    /// Where it stands.
    #[prost(enumeration = "PendingState", tag = "2")]
    pub state: i32,
    /// Who asked for it.
    #[prost(string, tag = "3")]
    pub by: String,
    /// Why.
    #[prost(string, tag = "4")]
    pub comment: String,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "5")]
    pub created_at: i64,
    /// The stage decided on.
    #[prost(enumeration = "Stage", tag = "6")]
    pub stage: i32,
    /// The decisions that would be new.
    #[prost(message, repeated, tag = "7")]
    pub changes: Vec<Approval>,
    /// The metadata to be signed, as JSON.
    #[prost(bytes = "bytes", repeated, tag = "8")]
    pub papers: Vec<bytes::Bytes>,
    /// Whose signatures there are.
    #[prost(message, repeated, tag = "9")]
    pub signers: Vec<SignerRecord>,
    /// Milliseconds since 1970 of the last time that the text was written.
    #[prost(int64, tag = "10")]
    pub prepared_at: i64,
    /// Why it was written anew, or given up.
    #[prost(string, tag = "11")]
    pub note: String,
    /// The generation that has it.
    #[prost(uint64, tag = "12")]
    pub generation: u64,
    /// What it would change, in words, as of when it was asked for.
    #[prost(string, repeated, tag = "13")]
    pub summary: Vec<String>,
}

/// A signature that counted.
#[derive(Clone, PartialEq, Message)]
pub struct SignerRecord {
    /// The person; empty for a key that is nobody's on record.
    #[prost(string, tag = "1")]
    pub user: String,
    /// The key.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// The signed role.
    #[prost(string, tag = "3")]
    pub role: String,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "4")]
    pub at: i64,
}

/// How far a source was synchronised.
#[derive(Clone, PartialEq, Message)]
pub struct SyncRecord {
    /// The source's own state, as its kind encodes it.
    #[prost(bytes = "bytes", tag = "1")]
    pub state: bytes::Bytes,
    /// Seconds since 1970 of the last success; 0 for never.
    #[prost(int64, tag = "2")]
    pub succeeded_at: i64,
    /// Seconds since 1970 of the last attempt; 0 for never.
    #[prost(int64, tag = "3")]
    pub attempted_at: i64,
    /// Why the last attempt failed; empty when it did not.
    #[prost(string, tag = "4")]
    pub problem: String,
}

/// When a source is synchronised by itself, and how that went.
#[derive(Clone, PartialEq, Message)]
pub struct PlanRecord {
    /// Seconds from one to the next; 0 where there is a time of day.
    #[prost(uint64, tag = "1")]
    pub every_seconds: u64,
    /// The time of day, `HH:MM`.
    #[prost(string, tag = "2")]
    pub at: String,
    /// The IANA name of its zone.
    #[prost(string, tag = "3")]
    pub zone: String,
    /// Milliseconds since 1970 of the last try, or when the plan was made.
    #[prost(int64, tag = "4")]
    pub last_millis: i64,
    /// Planned tries in a row that failed.
    #[prost(uint32, tag = "5")]
    pub failures: u32,
}

/// What a vendor's present release has.
#[derive(Clone, PartialEq, Message)]
pub struct ReleaseRecord {
    /// Every revision, as the catalogue names it.
    #[prost(string, repeated, tag = "1")]
    pub revisions: Vec<String>,
    /// Seconds since 1970 of the synchronisation.
    #[prost(int64, tag = "2")]
    pub at: i64,
}

/// A token handed out: never the secret, only its hash.
#[derive(Clone, PartialEq, Message)]
pub struct TokenRecord {
    /// Who may join with it.
    #[prost(string, tag = "1")]
    pub node: String,
    /// SHA-256 of the secret.
    #[prost(bytes = "vec", tag = "2")]
    pub secret_sha256: Vec<u8>,
    /// Seconds since 1970.
    #[prost(int64, tag = "3")]
    pub expires_at: i64,
    /// Seconds since 1970; 0 while unused.
    #[prost(int64, tag = "4")]
    pub used_at: i64,
}
