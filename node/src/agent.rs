//! The agent on a machine: it joins with a group's token, follows what
//! headquarters signed, finds what concerns the machine, installs it and reports.
//!
//! ```text
//! inventory ──► decide ◄── chain ◄── documents ◄── link (one node at a time)
//!                 │                                  │ ▲
//!                 ▼                                  │ │
//!              download ─► install ─► inventory ─► queue, report
//! ```
//!
//! [`round`] is the only place that puts these together. What always holds: a
//! node is believed nothing but its name; decisions are those of
//! `patchmesh_topology`; nothing here knows of a store.

pub mod ask;
pub mod brakes;
pub mod chain;
pub mod command;
pub mod decide;
pub mod documents;
pub mod download;
pub mod install;
pub mod inventory;
pub mod join;
pub mod link;
pub mod nearest;
pub mod program;
pub mod queue;
pub mod renew;
pub mod report;
pub mod round;
pub mod state;
pub mod wake;
