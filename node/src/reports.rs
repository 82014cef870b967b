//! What machines report: taken, kept, passed on, and counted at the primary.
//!
//! A machine signs its batches of events and hands them to any node. What always
//! holds:
//!
//! - Nothing is kept or counted that the machine it names did not sign with a key
//!   that the mesh's CA certified ([`crate::identity::sealed`]); so a node can withhold, and
//!   never invent.
//! - What a node answered as held is durable there ([`outbox`]) and leaves its outbox
//!   only when the parent holds it ([`forward`]), or the primary has counted it
//!   ([`ledger`]), or said that it never will.
//! - The primary counts each event once, whoever brings it and however often: it
//!   keeps the set of numbers that it has of every machine's epochs ([`held`]).
//! - Everything is bounded: batches, requests, what waits in all and per machine,
//!   gaps, epochs, machines.

pub mod forward;
#[cfg(test)]
mod fuzz;
pub mod held;
pub mod intake;
pub mod ledger;
pub mod outbox;
mod queue;
pub mod settle;
#[cfg(test)]
pub(crate) mod testing;
pub mod wake;

/// Batches of one request.
pub const MAX_BATCHES: usize = 64;

/// Bytes of one request, batches with all that belongs to them.
pub const MAX_REQUEST: usize = 1 << 20;
