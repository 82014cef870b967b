//! What the primary keeps for itself beside the signed documents: sources,
//! how far each was synchronised, and the tokens handed out. Stored as
//! protobuf under a name each.

use patchmesh_proto::admin::Source;
use prost::Message;

use crate::store::{Table, Tag};

/// Sources by name, as they were added.
pub static SOURCES: Table<str, Source> = Table::new(Tag::Source, 1);
/// How far each source was synchronised, by its name.
pub static SYNCS: Table<str, SyncRecord> = Table::new(Tag::SourceState, 1);
/// The token last handed out for each node, by its name.
pub static TOKENS: Table<str, TokenRecord> = Table::new(Tag::JoinToken, 1);

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
