//! Why a source could not be synchronised, in words that say what to do.

use std::path::PathBuf;

use jiff::Timestamp;

use crate::openpgp;
use crate::source::http;

/// Why a source could not be synchronised or a payload not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no repository where the operator said.
    #[error("there is neither {0}InRelease nor {0}Release; check the source's URL and suite")]
    NoRelease(String),
    /// A `Release` without signature.
    #[error(
        "{0} is missing, so the Release beside it is not signed; ask the vendor for a signed repository"
    )]
    NoSignature(String),
    /// Metadata could not be fetched.
    #[error("cannot fetch {file}")]
    Fetch {
        /// Its path in the repository.
        file: String,
        /// Why.
        source: http::Error,
    },
    /// The signature is no good.
    #[error(
        "{url} is not signed as the source's keyring asks; if the vendor changed keys, check the new one and set the keyring anew"
    )]
    Signature {
        /// What was to be verified.
        url: String,
        /// Why.
        source: openpgp::Error,
    },
    /// A field of `Release` that cannot be used.
    #[error("field {field} of {url} cannot be used: {what}")]
    Field {
        /// The file.
        url: String,
        /// Its field.
        field: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Another suite's `Release`.
    #[error(
        "{url} calls itself {found:?}, not {expected:?}; if that is right, set the source's release name"
    )]
    OtherSuite {
        /// The file.
        url: String,
        /// The suite asked for.
        expected: String,
        /// What it says.
        found: String,
    },
    /// The vendor, or who stands between, shows an old state.
    #[error("{url} expired at {at}; the mirror is stale, or someone holds newer metadata back")]
    Expired {
        /// The file.
        url: String,
        /// `Valid-Until`.
        at: Timestamp,
    },
    /// From the future.
    #[error("{url} is dated {date}, which is in the future; check this machine's clock")]
    Future {
        /// The file.
        url: String,
        /// Its date.
        date: Timestamp,
    },
    /// Older than what was accepted before.
    #[error(
        "{url} is dated {date}, older than the one of {accepted} that was accepted before; the mirror is behind, or someone shows an old state"
    )]
    Rollback {
        /// The file.
        url: String,
        /// Its date.
        date: Timestamp,
        /// The date accepted before.
        accepted: Timestamp,
    },
    /// The suite lacks what the source asks for.
    #[error("{url} offers no {kind} {wanted:?}, only {offered}")]
    NotOffered {
        /// The file.
        url: String,
        /// `component` or `architecture`.
        kind: &'static str,
        /// Asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// `Release` lists no such index.
    #[error("{url} lists no {path} in any known compression")]
    NoIndex {
        /// The file.
        url: String,
        /// The index.
        path: String,
    },
    /// Not the format.
    #[error("{file}, paragraph {paragraph}, line {line}: {what}")]
    Malformed {
        /// The file.
        file: String,
        /// Counted from 1; 0 where it is not known.
        paragraph: u64,
        /// Counted from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
    /// The compressed stream is damaged.
    #[error("cannot unpack {file}")]
    Unpack {
        /// The index.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// An index that would fill memory or disk.
    #[error(
        "{file} unpacks to more than {cap} bytes; if the repository is that large, raise the source's max_index_bytes"
    )]
    UnpackedLong {
        /// The index.
        file: String,
        /// The most bytes.
        cap: u64,
    },
    /// Another length than stated.
    #[error("{file} unpacks to {got} bytes, Release says {expected}")]
    UnpackedLength {
        /// The index.
        file: String,
        /// As stated.
        expected: u64,
        /// As found.
        got: u64,
    },
    /// More packages than any repository has.
    #[error(
        "the indices name more than {limit} packages; choose fewer components or architectures"
    )]
    ManyPackages {
        /// The most.
        limit: usize,
    },
    /// The cache folder fails.
    #[error("cannot use the cache folder {path:?}")]
    Cache {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The work was stopped from inside.
    #[error("reading the indices was broken off")]
    Task(#[source] tokio::task::JoinError),
    /// A payload could not be fetched, or is not what the index says.
    #[error("cannot fetch package {package}")]
    Payload {
        /// Name, version and architecture.
        package: String,
        /// Why; names expected and found hash, and the URL.
        source: http::Error,
    },
    /// A payload's file name leads out of the repository.
    #[error("package {package} has file name {filename:?}, which leads out of the repository")]
    Filename {
        /// Its name.
        package: String,
        /// As the index has it.
        filename: String,
    },
}
