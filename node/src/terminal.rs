//! What the programs share that people and scripts start: results on standard
//! output, errors and their exit codes, and the signals that end a command.
//! [`program`] is how each of them begins and ends.

pub(crate) mod exit;
pub(crate) mod exit_codes;
pub(crate) mod output;
pub(crate) mod program;
#[cfg(feature = "server")]
pub(crate) mod sheet;
pub(crate) mod signals;
pub(crate) mod token;
