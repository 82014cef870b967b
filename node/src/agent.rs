//! The agent on a machine: it joins with a group's token, follows what
//! headquarters signed, finds what concerns the machine, installs it and reports.
//!
//! ```text
//! inventory ──► decide ◄── chain ◄── documents ◄── link (one node)
//!                 │                                  │ ▲
//!                 ▼                                  │ │
//!              download ─► install ─► inventory ─► queue, report
//! ```
//!
//! [`round`] is the only place that puts these together. What always holds: a
//! node is believed nothing but its name; decisions are those of
//! `patchmesh_topology`; nothing here knows of a store.

#[cfg(feature = "server")]
pub mod chain;
#[cfg(feature = "server")]
pub mod decide;
#[cfg(feature = "server")]
pub mod documents;
#[cfg(feature = "server")]
pub mod download;
#[cfg(feature = "server")]
pub mod install;
pub mod inventory;
#[cfg(feature = "server")]
pub mod join;
#[cfg(feature = "server")]
pub mod link;
#[cfg(feature = "server")]
pub mod queue;
#[cfg(feature = "server")]
pub mod renew;
#[cfg(feature = "server")]
pub mod report;
#[cfg(feature = "server")]
pub mod round;
#[cfg(feature = "server")]
pub mod state;
#[cfg(feature = "server")]
pub mod wake;
