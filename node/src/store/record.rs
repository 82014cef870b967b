//! Records that more than one part of a node uses.

use bytes::Bytes;

use super::table::{Table, Tag};

/// Verified TUF metadata by file name, such as `7.snapshot.json`; exactly the
/// bytes that were signed.
pub const METADATA: Table<str, Bytes> = Table::new(Tag::Metadata, 1);

/// Generations that are served, by number.
pub const GENERATIONS: Table<u64, GenerationRecord> = Table::new(Tag::Generation, 1);

/// Single facts about this node, by name. Names begin with the module that
/// owns them: `tuf/latest-root`.
pub const NODE: Table<str, Bytes> = Table::new(Tag::Node, 1);

/// What a generation consists of, so that it stays served as a whole and what
/// no generation refers to can be removed.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GenerationRecord {
    /// When the node switched to it, milliseconds since 1970 by its own clock.
    #[prost(int64, tag = "1")]
    pub switched_at_millis: i64,
    /// Names in [`METADATA`].
    #[prost(string, repeated, tag = "2")]
    pub metadata: Vec<String>,
    /// Digests of its documents.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub documents: Vec<Bytes>,
}
