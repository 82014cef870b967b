//! Fuzzing of whatever reads what a peer sends, on the stable toolchain.
//!
//! A target is a function beside the code that it fuzzes: it takes bytes, reads
//! them as a node would, and panics when something holds that must not. The
//! [driver](Target::run) feeds it the committed corpus and changed pieces of it:
//! bits and bytes, but also fields, lengths, order and depth of what the bytes
//! stand for ([`fields`], [`json`]). What always holds for a target:
//!
//! - it never panics, overflows or hangs, whatever comes;
//! - it never takes more memory than a stated multiple of what came;
//! - what it accepted can be written and read again and is the same.
//!
//! There is no instrumentation: a changed input is kept for further changes when
//! the target says something about it that it has not said before.
//!
//! `docs/testing.md` says how to run it for longer and what to do with findings.

mod bytes;
mod chance;
mod driver;
mod fields;
mod json;

pub(crate) use driver::{Form, Target};

use std::fmt::{Debug, Display};

/// Entries of a list that has just grown, and so takes the most memory for what
/// came: a vector that doubles is there with half of it once more meanwhile.
pub(crate) const GROWN: usize = (4 << 10) + 1;

/// Bytes of memory for each byte of a message with lists: an entry of nothing has
/// two bytes and becomes a struct of some hundreds, [half as much again](GROWN) while
/// its list grows. How long the message may be bounds them all.
pub(crate) const LISTS: u64 = 512;

/// A word about an outcome: `Ok`, or what the error says with its causes.
pub(crate) fn word<T, E: std::error::Error>(outcome: &Result<T, E>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(error) = source {
                text = format!("{text}: {error}");
                source = error.source();
            }
            text
        }
    }
}

/// What was written must be what is read again.
#[track_caller]
pub(crate) fn same<T: PartialEq + Debug, E: Display>(before: &T, again: Result<T, E>) {
    match again {
        Ok(again) => assert_eq!(before, &again, "it is read as something else again"),
        Err(error) => panic!("what was accepted is refused when written again: {error}"),
    }
}

/// What a peer says one after the other, as one input.
#[derive(Clone, PartialEq, prost::Message)]
struct Script {
    #[prost(bytes = "vec", repeated, tag = "1")]
    said: Vec<Vec<u8>>,
}

/// An input that [`said`] reads.
pub(crate) fn script<M: prost::Message>(messages: &[M]) -> Vec<u8> {
    let said = messages.iter().map(prost::Message::encode_to_vec).collect();
    prost::Message::encode_to_vec(&Script { said })
}

/// The messages of an input; those that are none are left out, as a connection
/// would end with them.
pub(crate) fn said<M: prost::Message + Default>(input: &[u8]) -> Vec<M> {
    let script = <Script as prost::Message>::decode(input).unwrap_or_default();
    script.said.iter().filter_map(|one| M::decode(&one[..]).ok()).collect()
}
