//! Wire to model and back.
//!
//! What comes in is checked field by field, and an error names the field, such
//! as `nodes[3].site`. What goes out cannot fail. The model has no value that
//! the wire could not carry, so `model → wire → model` is the identity.

mod advisory;
mod alert;
mod approval;
mod assessment;
mod awaited;
mod baseline;
mod brake;
mod catalogue;
mod facts;
mod lab;
mod link;
mod mesh;
mod network;
mod person;
mod policy;
mod report;
mod revocation;
mod rollout;
mod subscription;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use patchmesh_topology::assessment::cve::NoCve;
use patchmesh_topology::digest::{self, Digest, Sha256};
use patchmesh_topology::revision::DocumentRef;
use patchmesh_topology::{name, node, revision};
use prost::bytes::Bytes;

use crate::wire;

pub use alert::alert_severity;
pub use approval::update_state;
pub use awaited::{awaited, awaited_to_wire};
pub use facts::{classification, severity};
pub use lab::{outcome as lab_outcome, override_to_wire, result_to_wire};
pub use link::{link, link_to_wire};
pub use mesh::{at_deadline, install_mode, reboot_slots, role, stage, stages, stated};
pub use network::{network, network_to_wire};
pub use person::user_roles;
pub use policy::rule;
pub use report::{outcome, phase};
pub use rollout::{
    brake_ask, brake_ask_to_wire, exception, exception_to_wire, freeze, freeze_to_wire, go_ahead,
    go_ahead_to_wire, site_group, site_group_to_wire,
};

/// What is wrong with a field.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// A number that stands for nothing.
    #[error("has {value}, which is no {kind} that this software knows")]
    Word {
        /// What it was to name.
        kind: &'static str,
        /// The number.
        value: i32,
    },
    /// Not a name or site.
    #[error("is not a name")]
    Name(#[from] name::Error),
    /// Not a digest.
    #[error("is not a digest")]
    Digest(#[from] digest::Error),
    /// Not a revision's name.
    #[error("does not name a revision")]
    Revision(#[from] revision::Error),
    /// Not a time between the years -9999 and 9999.
    #[error("is not a time")]
    Time,
    /// Not a path that stays inside its folder.
    #[error("has {0:?}, which is not a plain relative path")]
    Path(String),
    /// Not a vulnerability's name.
    #[error("does not name a vulnerability")]
    Cve(#[from] NoCve),
    /// A number outside of its bounds.
    #[error("is out of range")]
    Range,
    /// More entries than allowed.
    #[error("has more than {0} entries")]
    Many(usize),
    /// The entry does not come after the one before it.
    #[error("is out of order or comes twice")]
    Order,
    /// A field that is set though another says it cannot be, or the other way
    /// round.
    #[error("does not go with {0}")]
    Contradiction(&'static str),
    /// Not a time to install at.
    #[error("is no time to install at")]
    InstallTime(#[from] node::install_time::NoInstallTime),
    /// Not a policy of restarts.
    #[error("is no policy of restarts")]
    Reboot(#[from] patchmesh_topology::reboot::NoPolicy),
    /// Not a subscription.
    #[error("cannot be subscribed to")]
    Subscription(#[from] patchmesh_topology::subscription::Error),
    /// Not a rate.
    #[error("is no rate of a line")]
    Rate(#[from] patchmesh_topology::link::rate::Error),
    /// Not hours of the week.
    #[error("are no hours of the week")]
    Hours(#[source] patchmesh_topology::link::hours::Error),
    /// Not a cycle.
    #[error("is no cycle")]
    Cycle(#[source] patchmesh_topology::rollout::calendar::NoCycle),
    /// Groups of sites that are not there.
    #[error("cannot go where it says")]
    Geographies(#[from] patchmesh_topology::rollout::geography::Unresolved),
    /// Not a time zone.
    #[error("is no time zone")]
    Zone(#[source] patchmesh_topology::link::zone::UnknownZone),
    /// Not a place that a file could go to.
    #[error("is no place for a file")]
    Place(#[from] patchmesh_topology::revision::place::Error),
    /// Not a rule over a machine's facts.
    #[error("is no rule")]
    Rule(#[from] patchmesh_topology::applicability::rule::Error),
    /// Not a roll-up of events.
    #[error(transparent)]
    RollUp(#[from] patchmesh_topology::report::roll_up::Malformed),
    /// Not a promotion policy.
    #[error("is no policy that could be kept")]
    Policy(#[source] patchmesh_topology::promotion::policy::Rejection),
    /// Not a range of addresses.
    #[error("is no network")]
    Network(#[from] node::network::Error),
    /// Neither a revision nor a release.
    #[error("names nothing that the lab could try")]
    Subject(#[source] patchmesh_topology::lab::NoSubject),
    /// A word that is not known here.
    #[error("is no {kind}")]
    Text {
        /// Of what.
        kind: &'static str,
        /// Which there are.
        source: node::UnknownWord,
    },
    /// The nodes are not one tree.
    #[error("does not hold together")]
    Mesh(#[from] node::tree::Error),
}

/// A field and what is wrong with it.
#[derive(Debug)]
pub struct Error {
    path: String,
    fault: Fault,
}

impl Error {
    /// The field, such as `nodes[3].site`; empty for the whole message.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong with it.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    fn below(mut self, step: &str) -> Self {
        self.path = match self.path.as_str() {
            "" => step.to_owned(),
            rest if rest.starts_with('[') => format!("{step}{rest}"),
            rest => format!("{step}.{rest}"),
        };
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the message" } else { &self.path };
        write!(f, "{path} {}", self.fault)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The fault is part of what this error says, so its source comes next.
        std::error::Error::source(&self.fault)
    }
}

impl<F: Into<Fault>> From<F> for Error {
    fn from(fault: F) -> Self {
        Self { path: String::new(), fault: fault.into() }
    }
}

/// Says where a value came from when it turns out to be wrong.
pub trait At<T> {
    /// Names the field.
    ///
    /// # Errors
    /// The error there was, at `field`.
    fn at(self, field: &str) -> Result<T, Error>;
}

impl<T, E: Into<Error>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, Error> {
        self.map_err(|error| error.into().below(field))
    }
}

impl<T> At<T> for Option<T> {
    fn at(self, field: &str) -> Result<T, Error> {
        self.ok_or(Fault::Missing).at(field)
    }
}

/// Converts a list; an error names the entry.
pub(crate) fn each<W, M>(
    field: &str,
    entries: Vec<W>,
    convert: impl Fn(W) -> Result<M, Error>,
) -> Result<Vec<M>, Error> {
    let converted = |(index, entry)| convert(entry).at(&format!("[{index}]"));
    entries.into_iter().enumerate().map(converted).collect::<Result<_, _>>().at(field)
}

/// What a word stands for; nothing where it is empty.
pub(crate) fn word<T: std::str::FromStr<Err = node::UnknownWord>>(
    kind: &'static str,
    text: &str,
) -> Result<Option<T>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|source| Fault::Text { kind, source }.into())
}

/// Refuses a list that is too long.
pub(crate) fn at_most<T>(list: &[T], most: usize) -> Result<(), Error> {
    if list.len() > most { Err(Fault::Many(most).into()) } else { Ok(()) }
}

/// Collects a list that has to be sorted by key without repeating one.
pub(crate) fn sorted<K: Ord, V, C: FromIterator<(K, V)>>(
    field: &str,
    entries: Vec<(K, V)>,
) -> Result<C, Error> {
    let fault = entries.windows(2).position(|pair| pair[0].0 >= pair[1].0);
    match fault {
        None => Ok(entries.into_iter().collect()),
        Some(index) => Err(Fault::Order).at(&format!("{field}[{}]", index + 1)),
    }
}

/// Collects a list of names that has to be sorted without repeating one.
pub(crate) fn names<T>(field: &str, list: Vec<String>) -> Result<BTreeSet<T>, Error>
where
    T: FromStr + Ord,
    Error: From<T::Err>,
{
    let pairs = each(field, list, |one| Ok((one.parse()?, ())))?;
    Ok(sorted::<T, _, BTreeMap<_, _>>(field, pairs)?.into_keys().collect())
}

/// A required time.
///
/// # Errors
/// It is missing or no time.
pub fn time(value: Option<prost_types::Timestamp>) -> Result<Timestamp, Error> {
    let value = value.ok_or(Fault::Missing)?;
    if !(0..1_000_000_000).contains(&value.nanos) {
        return Err(Fault::Time.into());
    }
    Timestamp::new(value.seconds, value.nanos).map_err(|_| Fault::Time.into())
}

/// A time that may be unset.
///
/// # Errors
/// It is no time.
pub fn optional_time(value: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>, Error> {
    value.map(|value| time(Some(value))).transpose()
}

/// A time for the wire.
#[must_use]
pub fn timestamp_to_wire(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 the model's fraction is negative, the wire's never is.
    if nanos < 0 {
        return prost_types::Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 };
    }
    prost_types::Timestamp { seconds, nanos }
}

/// A BLAKE3 digest.
///
/// # Errors
/// The length is wrong.
pub fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    Ok(Digest::try_from(bytes)?)
}

/// A SHA-256 digest.
///
/// # Errors
/// The length is wrong.
pub fn sha256(bytes: &[u8]) -> Result<Sha256, Error> {
    Ok(Sha256::try_from(bytes)?)
}

/// A digest for the wire.
#[must_use]
pub fn digest_to_wire(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}

/// A digest for the wire.
#[must_use]
pub fn sha256_to_wire(sha256: &Sha256) -> Bytes {
    Bytes::copy_from_slice(sha256.as_bytes())
}

/// A reference that has to be there.
pub(crate) fn reference(value: Option<wire::Ref>) -> Result<DocumentRef, Error> {
    value.ok_or(Fault::Missing)?.try_into()
}

impl TryFrom<wire::Ref> for DocumentRef {
    type Error = Error;

    fn try_from(value: wire::Ref) -> Result<Self, Error> {
        Ok(Self { digest: digest(&value.digest).at("digest")?, length: value.length })
    }
}

impl From<&DocumentRef> for wire::Ref {
    fn from(value: &DocumentRef) -> Self {
        Self { digest: digest_to_wire(&value.digest), length: value.length }
    }
}
