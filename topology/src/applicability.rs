//! Which revisions concern a machine, and what of them it should install now.
//!
//! [`Inventory`] is what is known of a machine. [`verdict`] compares one revision
//! with it: by its packages, or by the [`Rule`]s that its vendor states; what
//! nobody can tell is *unknown*, never guessed. [`choose`] puts the verdicts
//! on all open revisions together: the newest of what replaces each other, in an
//! order that respects prerequisites, with what their packages need, and for each of
//! the rest why not.
//!
//! What always holds: a revision whose verdict is *installed* or *not
//! applicable* is never chosen, however it is offered, unless a chosen one needs a
//! package of it, which makes it *applicable*; every verdict has its reason; the same
//! arguments give the same outcome.

pub mod attempts;
mod choose;
mod due;
mod evaluate;
pub mod inventory;
mod needs;
mod packages;
mod placed;
mod removal;
pub mod rule;

#[cfg(test)]
mod tests;

use std::fmt;

use crate::revision::{Payload, Revision};

pub use choose::{Candidate, Choice, Lack, Standing, choose};
pub use due::due;
pub use evaluate::{Answer, ask};
pub use inventory::Inventory;
pub use needs::Part;
pub use packages::{held, payloads_for};
pub use placed::{Taken, rules};
pub use removal::{Removal, Unwanted, removal};
pub use rule::Rule;

/// How a vendor tells that a revision is needed, and that it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    /// Machines that it is for; `None`: all that its products, languages and
    /// architectures name.
    pub applies: Option<Rule>,
    /// Machines that have it; `None`, for what is put in the place of other files:
    /// those where all its files are.
    pub installed: Option<Rule>,
}

/// What a revision is to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The machine needs it and does not have it.
    Applicable,
    /// It is there, or something newer is.
    Installed,
    /// It is for others.
    NotApplicable,
    /// Nobody can tell.
    Unknown,
}

/// What a revision is to a machine, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What.
    pub state: State,
    /// Why, for people.
    pub reason: String,
}

impl State {
    /// As it is written in tables and documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applicable => "applicable",
            Self::Installed => "installed",
            Self::NotApplicable => "not-applicable",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Verdict {
    fn new(state: State, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into() }
    }
}

/// What `revision` is to the machine.
#[must_use]
pub fn verdict(revision: &Revision, machine: &Inventory) -> Verdict {
    if let Some(reason) = narrowed(revision, machine) {
        return Verdict::new(State::NotApplicable, reason);
    }
    match &revision.facts.detection {
        Some(_) => detected(revision, machine),
        None if revision.is_placed() => detected(revision, machine),
        None if revision.format().is_some() => packages::verdict(revision, machine),
        None => {
            Verdict::new(State::Unknown, "the vendor states no way to tell whether it is installed")
        }
    }
}

/// Asks the vendor's rules, or for its files. Whether it is for the machine comes first,
/// so that what is for others is never taken for installed there.
fn detected(revision: &Revision, machine: &Inventory) -> Verdict {
    let detection = revision.facts.detection.as_ref();
    let applies = detection.and_then(|one| one.applies.as_ref());
    let applies = applies.map(|rule| ask(rule, machine));
    if let Some(Answer::No(reason)) = applies {
        return Verdict::new(State::NotApplicable, reason);
    }
    let installed = match detection.and_then(|one| one.installed.as_ref()) {
        Some(rule) => ask(rule, machine),
        None => placed::all_there(revision, machine),
    };
    match (applies, installed) {
        (Some(Answer::Unknown(reason)), _) | (_, Answer::Unknown(reason)) => {
            Verdict::new(State::Unknown, reason)
        }
        (_, Answer::Yes(reason)) => Verdict::new(State::Installed, reason),
        (_, Answer::No(reason)) => Verdict::new(State::Applicable, reason),
    }
}

/// Why the architectures, languages and products that a revision states leave
/// the machine out. What a machine does not know of itself leaves out nothing.
fn narrowed(revision: &Revision, machine: &Inventory) -> Option<String> {
    let other = |kind: &str, theirs: &[String], ours: String| {
        Some(format!("it is for {kind} {}; this machine has {ours}", named(theirs)))
    };
    let facts = &revision.facts;
    let theirs = &revision.architectures;
    if !theirs.is_empty() && !theirs.iter().any(|one| machine.runs(one)) {
        return other("architecture", theirs, named(&machine.architectures));
    }
    let theirs = &facts.languages;
    if !theirs.is_empty() && !theirs.iter().any(|one| machine.speaks(one)) {
        return other("language", theirs, named(&machine.languages));
    }
    let (theirs, ours) = (&facts.products, &machine.products);
    let has = |one: &String| ours.iter().any(|product| product.eq_ignore_ascii_case(one));
    if !theirs.is_empty() && !ours.is_empty() && !theirs.iter().any(has) {
        return other("product", theirs, named(ours));
    }
    None
}

/// The most words of one reason.
const NAMED: usize = 3;

fn named(words: &[String]) -> String {
    let mut text = words.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if words.len() > NAMED {
        text.push_str(&format!(" and {} more", words.len() - NAMED));
    }
    text
}

/// Whether a file is for the machine's architectures and languages.
fn is_for(payload: &Payload, machine: &Inventory) -> bool {
    let language = &payload.language;
    machine.runs(&payload.architecture) && (language.is_empty() || machine.speaks(language))
}
