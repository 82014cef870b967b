//! Sources of updates: where vendors publish.
//!
//! Owns talking to vendors: polite, bounded HTTP and, per kind of source, how
//! what was fetched is checked and becomes revisions. What always holds: nothing
//! leaves this module that the vendor's keys do not vouch for, unless the
//! operator declared the source unsigned, and no vendor can make it read, write
//! or wait without end.
//!
//! A source knows neither the catalogue nor the store; its caller compares
//! revisions with the catalogue and keeps the state between two runs.

pub mod apt;
pub mod files;
pub mod http;
mod kind;
mod progress;

use serde::{Deserialize, Serialize};

pub use kind::{Error, Found, Revisions, Round, Source};
pub use progress::{Progress, Step};

/// When the payloads of a source's revisions are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FetchPolicy {
    /// When a revision is first approved.
    #[default]
    OnDemand,
    /// As soon as a revision is known.
    Prefetch,
}
