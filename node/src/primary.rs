//! What only the primary does: talk to vendors, sign, hand out tokens.
//!
//! [`publisher`] owns the writing of generations; everything here changes the
//! mesh through it and through nothing else.

pub mod awaited;
pub mod baselines;
pub mod ceremony;
pub mod draft;
pub mod machines;
pub mod overrides;
pub mod packages;
pub mod payloads;
pub mod pending;
pub mod planned;
pub mod publisher;
pub mod records;
pub mod revocations;
pub mod rollouts;
pub mod signing;
pub mod sources;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod vendors;
pub mod views;
pub mod writing;
