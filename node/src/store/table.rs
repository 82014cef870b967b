//! Typed, versioned tables over the key space of records.
//!
//! A key is the table's tag byte and the encoded key, so that tables never
//! mix and scan in the order of their keys. A value is one version byte and a
//! protobuf message. A table says which version it writes; a record of another
//! version is an error that names it, never a guess. Protobuf's own rules cover
//! added fields, so the version only grows when old records must be rewritten.

use std::borrow::ToOwned;
use std::marker::PhantomData;

use patchmesh_topology::digest::Digest;
use prost::Message;

use super::Error;

/// The first byte of every key. All tables of the program are listed here, so
/// that no byte is used twice. The byte of a retired table stays reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Tag {
    /// Blobs that are held: length and place.
    Blob = 1,
    /// Piece values of large blobs, held or on their way.
    Manifest = 2,
    /// Which pieces of a blob on its way are durable.
    Journal = 3,
    /// Verified TUF metadata by file name.
    Metadata = 4,
    /// Generations by number, for as long as they stay served.
    Generation = 5,
    /// Single facts about this node, by name.
    Node = 6,
    /// Tokens for nodes that may join.
    JoinToken = 7,
    /// Vendor sources as configured.
    Source = 8,
    /// What the last synchronisation with a source left behind.
    SourceState = 9,
    /// The primary's working state of the catalogue.
    Catalogue = 10,
    /// The last word of every node below this one.
    NodeStatus = 11,
    /// Synchronisations that ended.
    Synchronisation = 12,
    /// Views by stage and group.
    View = 13,
    /// The primary's working state of decisions and rollouts.
    Decision = 14,
    /// Certificates that were issued.
    Certificate = 15,
    /// The metadata that was trusted last, by role.
    Trusted = 16,
    /// The parent learned from joining.
    Parent = 17,
    /// What feeds say of vulnerabilities.
    VulnerabilityFacts = 27,
    /// What advisories of vendors and distributions say.
    Statement = 28,
    /// When each source is synchronised by itself.
    SourcePlan = 24,
    /// Feeds that are fetched every day.
    Feed = 29,
    /// What waits for people's signatures.
    Pending = 31,
    /// What a standby keeps of the primary's own records.
    Standby = 36,
    /// What is wrong at this node until it is put right.
    Alert = 37,
    /// How far the scrub is.
    Scrub = 38,
    /// What is held back at this node's site.
    Brake = 44,
    /// What is held back at the sites of nodes below this one.
    BrakeBelow = 48,
    /// What is on the machines that report here.
    MachineInventory = 49,
    /// What a vendor's present release has.
    Release = 23,
    /// Tokens with which machines join a group.
    MachineToken = 32,
    /// Machines that were shut out.
    MachineRevoked = 33,
    /// Batches of machines' events on their way up.
    ReportOutbox = 40,
    /// Which of machines' events have passed through here.
    ReportHeld = 41,
    /// The primary's knowledge of every machine.
    Machine = 42,
    /// The last word of every machine on every revision.
    MachineWord = 43,
    /// Status of clients of the predecessor, unverified.
    LegacyStatus = 45,
    /// When sites came to the content of rollouts.
    ContentArrival = 46,
    /// Slots of machines that restart.
    RebootSlot = 51,
    /// The latest certificate of each machine that was here.
    MachineLatest = 52,
}

impl Tag {
    /// The name that errors use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Manifest => "manifest",
            Self::Journal => "journal",
            Self::Metadata => "metadata",
            Self::Generation => "generation",
            Self::Node => "node",
            Self::JoinToken => "join-token",
            Self::Source => "source",
            Self::SourceState => "source-state",
            Self::Catalogue => "catalogue",
            Self::NodeStatus => "node-status",
            Self::Synchronisation => "synchronisation",
            Self::View => "view",
            Self::Decision => "decision",
            Self::Certificate => "certificate",
            Self::Trusted => "trusted",
            Self::Parent => "parent",
            Self::VulnerabilityFacts => "vulnerability-facts",
            Self::Statement => "statement",
            Self::SourcePlan => "source-plan",
            Self::Feed => "feed",
            Self::Pending => "pending",
            Self::Standby => "standby",
            Self::Alert => "alert",
            Self::Scrub => "scrub",
            Self::ContentArrival => "content-arrival",
            Self::Brake => "brake",
            Self::BrakeBelow => "brake-below",
            Self::Release => "release",
            Self::MachineToken => "machine-token",
            Self::MachineRevoked => "machine-revoked",
            Self::ReportOutbox => "report-outbox",
            Self::ReportHeld => "report-held",
            Self::Machine => "machine",
            Self::MachineInventory => "machine-inventory",
            Self::MachineWord => "machine-word",
            Self::LegacyStatus => "legacy-status",
            Self::RebootSlot => "reboot-slot",
            Self::MachineLatest => "machine-latest",
        }
    }
}

/// A table of records `V` by keys `K` (`str`, [`Digest`] or `u64`). Tables are
/// constants beside the type of their records:
///
/// ```ignore
/// const TOKENS: Table<str, TokenRecord> = Table::new(Tag::JoinToken, 1);
/// ```
#[derive(Debug)]
pub struct Table<K: ?Sized, V> {
    tag: Tag,
    version: u8,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: Key + ?Sized, V: Message + Default> Table<K, V> {
    /// The table with this tag, whose records have this version.
    #[must_use]
    pub const fn new(tag: Tag, version: u8) -> Self {
        Self { tag, version, types: PhantomData }
    }

    pub(super) const fn tag(&self) -> Tag {
        self.tag
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        vec![self.tag as u8]
    }

    pub(super) fn key(&self, key: &K) -> Vec<u8> {
        let mut bytes = self.prefix();
        key.write(&mut bytes);
        bytes
    }

    pub(super) fn decode_key(&self, bytes: &[u8]) -> Result<K::Owned, Error> {
        let damaged = || Error::Record { table: self.tag.name(), source: None };
        bytes.get(1..).and_then(K::read).ok_or_else(damaged)
    }

    pub(super) fn encode(&self, value: &V) -> Vec<u8> {
        let mut bytes = vec![self.version];
        bytes.extend(value.encode_to_vec());
        bytes
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> Result<V, Error> {
        let table = self.tag.name();
        let (&found, message) = bytes.split_first().ok_or(Error::Record { table, source: None })?;
        if found != self.version {
            return Err(Error::RecordVersion { table, found, known: self.version });
        }
        V::decode(message).map_err(|e| Error::Record { table, source: Some(e.into()) })
    }
}

/// A key whose bytes sort as its values do.
pub trait Key: ToOwned {
    /// Appends the bytes.
    fn write(&self, bytes: &mut Vec<u8>);
    /// Reads the bytes back; nothing where they are none of such a key.
    fn read(bytes: &[u8]) -> Option<Self::Owned>;
}

impl Key for str {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<String> {
        String::from_utf8(bytes.to_vec()).ok()
    }
}

impl Key for Digest {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Self::try_from(bytes).ok()
    }
}

impl Key for u64 {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::from_be_bytes)
    }
}
