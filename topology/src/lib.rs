//! The pure model of a mesh and its decisions.
//!
//! Everything here is a value or a function of its arguments: no clock, no
//! I/O, no randomness, no async. Time is an argument ([`jiff::Timestamp`]).
//! The daemon executes what these functions decide; a simulator can drive the
//! same functions.

pub mod advisory;
pub mod alert;
pub mod applicability;
pub mod approval;
pub mod assessment;
pub mod baseline;
pub mod catalogue;
pub mod closure;
pub mod compliance;
pub mod debian;
pub mod digest;
pub mod interval;
pub mod lab;
pub mod legacy;
pub mod link;
pub mod name;
pub mod node;
pub mod offer;
pub mod partition;
pub mod person;
pub mod planned;
pub mod promotion;
pub mod reboot;
pub mod report;
pub mod revision;
pub mod revocation;
pub mod rollout;
pub mod rpm;
pub mod rule;
pub mod share;
pub mod simulate;
pub mod subscription;
pub mod supersedence;
pub mod tally;
pub mod view;
mod week;
