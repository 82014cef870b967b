//! Settings of a node: defaults → file → drop-ins → environment → flags,
//! read once, checked once.
//!
//! The file is `DATA/patchmesh.toml` or the one named with `--config`; its
//! drop-ins are `*.toml` in the folder beside it that has `.d` for `.toml`,
//! in the order of their names. A variable `PATCHMESH_LISTEN` sets `listen`.
//! A key that nothing reads is refused wherever it stands, so that a typing
//! error is never a silent default. [`Settings`] hold only checked values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use patchmesh_topology::link::rate::Rate;
use patchmesh_topology::planned::Retries;

mod file;
mod key;
mod layer;

pub use file::write_first;
pub use key::{KEYS, Key};
pub use layer::{Flags, Shown, file_for, load, show};

use crate::log;

/// Begins the name of every environment variable that is read.
pub const ENVIRONMENT_PREFIX: &str = "PATCHMESH_";

/// The data folder where none is named.
pub const DEFAULT_DATA: &str = "/var/lib/patchmesh";

/// Everything that `serve` may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The node's data folder.
    pub data: PathBuf,
    /// Where gRPC and HTTPS are served.
    pub listen: SocketAddr,
    /// Where the open routes are served without TLS; nowhere if absent.
    pub http_listen: Option<SocketAddr>,
    /// How the log looks.
    pub log_format: log::Format,
    /// What is logged.
    pub log_filter: log::Filter,
    /// On a primary: how long the certificates live that it issues.
    pub certificate_lifetime: Duration,
    /// How long the node goes on with verified documents while cut off.
    pub offline_grace: Duration,
    /// How often the node asks its parent even when nothing was announced.
    pub poll_interval: Duration,
    /// How a planned synchronisation that failed is tried again.
    pub retries: Retries,
    /// How many payloads are fetched at once.
    pub content_fetches: usize,
    /// How fast stored content is read again.
    pub scrub_rate: Rate,
    /// How often all of it is.
    pub scrub_period: Duration,
    /// The most that comes from other nodes, all together.
    pub limit_down: Rate,
    /// The most that goes to other nodes, all together.
    pub limit_up: Rate,
    /// The most that machines fetch of this node, all together.
    pub limit_machines: Rate,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file named with `--config` is not there.
    #[error("configuration file {} does not exist", .0.display())]
    Absent(PathBuf),
    /// A folder of drop-ins cannot be listed, or a file not be written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML, or a value of another type than its key has.
    #[error("cannot read {origin}")]
    Form {
        /// The file or variable.
        origin: String,
        /// What is wrong, with its place.
        source: Box<figment::Error>,
    },
    /// A key that nothing reads.
    #[error("unknown key {key:?} in {origin}; known are {}", key::names())]
    UnknownKey {
        /// The key.
        key: String,
        /// The file or variable.
        origin: String,
    },
    /// A value that its key cannot have.
    #[error("{key} in {origin}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// The file, variable or flag.
        origin: String,
        /// What is wrong and what to write instead.
        why: String,
    },
}
