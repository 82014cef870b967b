//! Envelopes: how documents are stored, and how they are read again.
//!
//! A document is an [`Envelope`] around one message of [`crate::wire`]. What
//! is hashed and signed is the stored bytes: [`encode`] makes them once, and
//! nothing encodes a document again to check it. A reader refuses whatever it
//! would misunderstand: another kind, a newer version, a feature that it does
//! not know. Fields that it does not know inside a body are no such thing; who
//! adds one that must be understood names a feature or raises the version.

use patchmesh_topology::digest::Digest;
use patchmesh_topology::revision::DocumentRef;
use prost::bytes::Bytes;
use prost::{DecodeError, Message};

use crate::wire::{self, Envelope};

/// The most bytes of a document. The index of a set of millions fits with room to
/// spare; what is larger can only be an attempt to fill memory.
pub const MAX_DOCUMENT: usize = 32 << 20;

/// The most bytes of a partition's entries, so that one decision moves
/// kilobytes. The envelope adds a few dozen.
pub const MAX_PARTITION: usize = 64 << 10;

/// A group has several views, and each site one of them by what is open there.
pub const EFFECTIVE_SETS: &str = "effective-sets";

/// A wave goes to groups of sites: who does not know them would think that it goes
/// everywhere.
pub const SITE_GROUPS: &str = "site-groups";

/// A wave lets its sites in one after the other: who does not know that would think
/// that it is open at all of them.
pub const WAVE_LIMITS: &str = "wave-limits";

/// A revision's files are put in the place of others: who does not know that would take
/// them for a vendor's without an installer.
pub const PLACED_FILES: &str = "placed-files";

/// The features that this software understands.
pub const FEATURES: [&str; 4] = [EFFECTIVE_SETS, SITE_GROUPS, WAVE_LIMITS, PLACED_FILES];

/// How much of an unknown word an error repeats, in characters.
const SHOWN: usize = 64;

/// A message that is stored as a document.
pub trait Document: Message + Default {
    /// What the envelope calls it.
    const KIND: &'static str;
    /// The newest format of it that this software understands, from 1.
    const VERSION: u32 = 1;

    /// The features without which this very message would be misunderstood.
    fn required_features(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Why bytes are not the document that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than a document can have.
    #[error("a document of {0} bytes is larger than the {MAX_DOCUMENT} allowed")]
    Large(usize),
    /// Not an envelope at all.
    #[error("the bytes are not a document envelope")]
    Envelope(#[source] DecodeError),
    /// An envelope, and something more or something missing.
    #[error("the document's envelope is damaged: {0}")]
    Damaged(&'static str),
    /// A document of another kind.
    #[error("expected a document of kind {expected}, got {actual:?}")]
    Kind {
        /// What was asked for.
        expected: &'static str,
        /// What the envelope says, shortened.
        actual: String,
    },
    /// A format that only newer software reads.
    #[error(
        "document {kind} has format {found}, this software reads up to {understood}; upgrade this node"
    )]
    Newer {
        /// The kind.
        kind: &'static str,
        /// Its format.
        found: u32,
        /// The newest format understood.
        understood: u32,
    },
    /// A feature that only newer software understands.
    #[error(
        "document {kind} demands the feature {feature:?}, which this software does not know; upgrade this node"
    )]
    Feature {
        /// The kind.
        kind: &'static str,
        /// The first feature not understood, shortened.
        feature: String,
    },
    /// The body is not the message that the kind promises.
    #[error("the body of document {kind} cannot be decoded")]
    Body {
        /// The kind.
        kind: &'static str,
        /// Why.
        source: DecodeError,
    },
}

/// The bytes to store, hash and sign for `document`.
#[must_use]
pub fn encode<T: Document>(document: &T) -> Bytes {
    let envelope = Envelope {
        kind: T::KIND.to_owned(),
        version: T::VERSION,
        required_features: document.required_features().into_iter().map(str::to_owned).collect(),
        body: document.encode_to_vec().into(),
    };
    envelope.encode_to_vec().into()
}

/// The document of kind `T` that `stored` is.
///
/// # Errors
/// It is none, or one that would be misunderstood.
pub fn decode<T: Document>(stored: &Bytes) -> Result<T, Error> {
    let envelope = open(stored)?;
    if envelope.kind != T::KIND {
        return Err(Error::Kind { expected: T::KIND, actual: shorten(&envelope.kind) });
    }
    if envelope.version > T::VERSION {
        return Err(Error::Newer {
            kind: T::KIND,
            found: envelope.version,
            understood: T::VERSION,
        });
    }
    let unknown = |feature: &&String| !FEATURES.contains(&feature.as_str());
    if let Some(feature) = envelope.required_features.iter().find(unknown) {
        return Err(Error::Feature { kind: T::KIND, feature: shorten(feature) });
    }
    T::decode(envelope.body).map_err(|source| Error::Body { kind: T::KIND, source })
}

/// What a document's envelope calls it.
///
/// # Errors
/// The bytes are not an envelope.
pub fn kind_of(stored: &Bytes) -> Result<String, Error> {
    open(stored).map(|envelope| envelope.kind)
}

/// The name of a document: what its stored bytes are.
#[must_use]
pub fn reference(stored: &[u8]) -> DocumentRef {
    DocumentRef { digest: Digest::of(stored), length: stored.len() as u64 }
}

fn open(stored: &Bytes) -> Result<Envelope, Error> {
    if stored.len() > MAX_DOCUMENT {
        return Err(Error::Large(stored.len()));
    }
    let envelope = Envelope::decode(stored.clone()).map_err(Error::Envelope)?;
    // The envelope's format is fixed for good, so every byte is accounted for.
    if envelope.encoded_len() != stored.len() {
        return Err(Error::Damaged("it has bytes that belong to no field"));
    }
    if envelope.kind.is_empty() {
        return Err(Error::Damaged("it names no kind"));
    }
    if envelope.version == 0 {
        return Err(Error::Damaged("it states no version"));
    }
    Ok(envelope)
}

fn shorten(word: &str) -> String {
    word.chars().take(SHOWN).collect()
}

macro_rules! documents {
    ($($message:ident => $kind:literal $(format $version:literal)? $(needs $features:path)?),+ $(,)?) => {
        $(impl Document for wire::$message {
            const KIND: &'static str = $kind;
            $(const VERSION: u32 = $version;)?
            $(fn required_features(&self) -> Vec<&'static str> {
                $features(self)
            })?
        })+

        /// Every kind of document, in the order in which they came to be.
        pub const KINDS: &[&str] = &[$($kind),+];
    };
}

documents! {
    Topology => "topology",
    Index => "index",
    CataloguePartition => "catalogue-partition",
    Revision => "revision" needs revision_features,
    BindingPartition => "binding-partition",
    ApprovalPartition => "approval-partition",
    RolloutSet => "rollout-set" format 2 needs rollout_set_features,
    WaveStates => "wave-states" format 2,
    ViewSet => "view-set" needs view_set_features,
    View => "view" format 2,
    AssessmentPartition => "assessment-partition",
    AdvisoryIndex => "advisory-index",
    Advisory => "advisory",
    Policy => "policy",
    BaselineSet => "baseline-set",
    BaselinePartition => "baseline-partition",
    PoolPartition => "pool-partition",
    Lab => "lab",
    DeadlineWeightPartition => "deadline-weight-partition",
    RevocationPartition => "revocation-partition",
}

/// Who does not know the kind of installer would not install it, or wrongly.
fn revision_features(revision: &wire::Revision) -> Vec<&'static str> {
    let installer = revision.facts.as_ref().and_then(|facts| facts.installer.as_ref());
    let is_placed = installer.is_some_and(|one| one.kind() == wire::InstallerKind::Files)
        || revision.payloads.iter().any(|one| one.place.is_some());
    if is_placed { vec![PLACED_FILES] } else { Vec::new() }
}

/// Who knows of one view for a group only would take one for all sites.
fn view_set_features(set: &wire::ViewSet) -> Vec<&'static str> {
    let twice = |pair: &[wire::ViewEntry]| match pair {
        [a, b] => (a.stage, &a.group) == (b.stage, &b.group),
        _ => false,
    };
    if set.views.windows(2).any(twice) { vec![EFFECTIVE_SETS] } else { Vec::new() }
}

/// Who does not know what bounds a wave would open more than the plan says.
fn rollout_set_features(set: &wire::RolloutSet) -> Vec<&'static str> {
    let waves = || set.rollouts.iter().flat_map(|rollout| &rollout.waves);
    let groups = waves().any(|wave| !wave.site_groups.is_empty());
    let limits = waves().any(|wave| wave.max_concurrent.is_some());
    let needed = [(groups, SITE_GROUPS), (limits, WAVE_LIMITS)].into_iter();
    needed.filter(|(is_needed, _)| *is_needed).map(|(_, feature)| feature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            kind: "rollout-set".to_owned(),
            version: wire::RolloutSet::VERSION,
            required_features: Vec::new(),
            body: wire::RolloutSet { version: 7, ..Default::default() }.encode_to_vec().into(),
        }
    }

    fn read(envelope: &Envelope) -> Result<wire::RolloutSet, Error> {
        decode(&envelope.encode_to_vec().into())
    }

    #[test]
    fn reads_what_it_wrote() {
        let set = wire::RolloutSet { version: 7, ..Default::default() };
        let stored = encode(&set);
        assert_eq!(stored, envelope().encode_to_vec());
        assert_eq!(decode::<wire::RolloutSet>(&stored).expect("a document"), set);
        assert_eq!(kind_of(&stored).expect("a document"), "rollout-set");
        assert_eq!(reference(&stored).length, stored.len() as u64);
    }

    #[test]
    fn who_does_not_know_of_placed_files_refuses_such_a_revision() {
        let of = |kind: wire::InstallerKind| {
            let installer = wire::Installer { kind: kind.into(), ..Default::default() };
            let facts = wire::Facts { installer: Some(installer), ..Default::default() };
            wire::Revision { facts: Some(facts), ..Default::default() }
        };
        assert_eq!(of(wire::InstallerKind::Rpm).required_features(), Vec::<&str>::new());
        assert_eq!(of(wire::InstallerKind::Files).required_features(), [PLACED_FILES]);
    }

    #[test]
    fn refuses_another_kind() {
        let error = decode::<wire::Topology>(&envelope().encode_to_vec().into());
        assert!(
            matches!(error, Err(Error::Kind { expected: "topology", actual }) if actual == "rollout-set")
        );
        let future = Envelope { kind: "hologram".repeat(100), ..envelope() };
        assert!(matches!(read(&future), Err(Error::Kind { actual, .. }) if actual.len() == SHOWN));
    }

    #[test]
    fn refuses_what_only_newer_software_understands() {
        let newer = Envelope { version: wire::RolloutSet::VERSION + 1, ..envelope() };
        let error = read(&newer).expect_err("newer").to_string();
        assert!(error.contains("format 3") && error.contains("upgrade this node"), "{error}");
        let feature =
            Envelope { required_features: vec!["machine-shares".to_owned()], ..envelope() };
        let error = read(&feature).expect_err("feature").to_string();
        assert!(error.contains("\"machine-shares\""), "{error}");
    }

    #[test]
    fn several_views_of_a_group_have_to_be_understood() {
        let entry = |group: &str, set: u8| wire::ViewEntry {
            group: group.to_owned(),
            set: vec![set; 32].into(),
            ..wire::ViewEntry::default()
        };
        let features = |views: Vec<wire::ViewEntry>| {
            let stored = encode(&wire::ViewSet { version: 1, views });
            decode::<wire::ViewSet>(&stored).expect("understood");
            open(&stored).expect("an envelope").required_features
        };
        assert!(features(vec![entry("a", 1), entry("b", 2)]).is_empty());
        assert_eq!(features(vec![entry("a", 1), entry("a", 2)]), [EFFECTIVE_SETS]);
    }

    #[test]
    fn refuses_damage() {
        let whole = envelope().encode_to_vec();
        let decode = |bytes: &[u8]| decode::<wire::RolloutSet>(&Bytes::copy_from_slice(bytes));
        for length in 0..whole.len() {
            // Cut before its body it is another document, an empty one, which
            // its digest tells apart.
            let cut = decode(&whole[..length]);
            assert!(cut.is_err() || length == whole.len() - 4, "cut to {length}");
        }
        let trailing = [whole.as_slice(), &[0x28, 0x01]].concat();
        assert!(matches!(decode(&trailing), Err(Error::Damaged(_))));
        assert!(matches!(decode(b"<html>no such page</html>"), Err(Error::Envelope(_))));
        assert!(matches!(decode(&vec![0; MAX_DOCUMENT + 1]), Err(Error::Large(_))));
        let body = Envelope { body: Bytes::from_static(b"\xff\xff"), ..envelope() };
        assert!(matches!(read(&body), Err(Error::Body { .. })));
    }

    #[test]
    fn who_does_not_know_what_bounds_a_wave_refuses_the_plan() {
        let features = |wave: wire::Wave| {
            let rollout = wire::Rollout { waves: vec![wave], ..Default::default() };
            let set = wire::RolloutSet { rollouts: vec![rollout], ..Default::default() };
            open(&encode(&set)).expect("an envelope").required_features
        };
        assert!(features(wire::Wave::default()).is_empty());
        let named = wire::Wave { site_groups: vec!["plants".to_owned()], ..Default::default() };
        assert_eq!(features(named.clone()), [SITE_GROUPS]);
        let limited = wire::Wave { max_concurrent: Some(wire::WaveLimit::default()), ..named };
        assert_eq!(features(limited), [SITE_GROUPS, WAVE_LIMITS]);
    }
}
