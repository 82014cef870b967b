//! What of a view can be installed: closing it under dependencies.
//!
//! Machines of a group have the packages of its baseline and are offered a
//! view. [`Ground`] is the baseline made ready; [`close`] says which packages
//! of the view have to be left out, and why, so that whatever is left installs
//! without anything being removed:
//!
//! - of a package the highest version counts, of the baseline and the view
//!   together, as apt chooses;
//! - every clause of `Pre-Depends` and `Depends` has an alternative that
//!   counts, `Provides` included;
//! - nothing new breaks or conflicts with what machines have, as it would be
//!   after an upgrade, nor the other way round; no update takes away what an
//!   installed package needs;
//! - what a package brings with it does not conflict within itself.
//!
//! A package that is left out may take others with it, so this is done until
//! nothing changes. Nothing comes back meanwhile: where two exclude each other
//! the outcome may be smaller than it could be, never wrong.
//!
//! Each architecture that is native to machines of the baseline is judged for
//! itself, together with `all`. Packages of other architectures are not judged.

mod along;
mod calls;
mod company;
mod ground;
mod names;
mod offered;
mod package;
mod universe;

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Sha256;
use crate::revision::{Payload, Revision, RevisionId};
use crate::view::Withheld;

pub(crate) use along::{Along, Goods, Hindrance, Shelf, Standing, along};
pub(crate) use calls::needed_first;
pub use ground::Ground;
pub use offered::{Offered, offered};
use universe::Universe;

/// The most packages named in one explanation.
const NAMED: usize = 3;

/// A clause that nothing satisfies, of a package that was left out for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// The revision of the package.
    pub revision: RevisionId,
    /// The architecture of the machines.
    pub architecture: String,
    /// The clause, as in `libfoo2 (>= 1.2) | libbar`.
    pub clause: String,
}

/// What closing a view came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Payloads that an index must not list: its architecture and the payload.
    pub hidden: BTreeSet<(String, Sha256)>,
    /// What is left out, for people. An entry without a package stands for a
    /// revision of which nothing is left.
    pub withheld: BTreeMap<Withheld, String>,
    /// The clauses that would have to be satisfied first.
    pub missing: BTreeSet<Missing>,
}

impl Outcome {
    /// The revisions of which nothing is left.
    pub fn unavailable(&self) -> impl Iterator<Item = &RevisionId> {
        self.withheld.keys().filter(|one| one.package.is_empty()).map(|one| &one.revision)
    }

    /// Whether nothing is left of `revision`.
    #[must_use]
    pub fn is_unavailable(&self, revision: &RevisionId) -> bool {
        self.withheld.contains_key(&Withheld::whole(revision.clone()))
    }
}

/// Closes the view of `open` revisions for machines that have `ground`.
#[must_use]
pub fn close(open: &[&Revision], ground: &Ground) -> Outcome {
    let mut outcome = Outcome::default();
    for architecture in ground.natives() {
        let mut universe = Universe::new(open, ground, architecture);
        universe.settle();
        for left_out in universe.left_out() {
            let payload = left_out.payload;
            outcome.hidden.insert((architecture.to_owned(), payload.sha256));
            let withheld = Withheld {
                revision: left_out.revision.clone(),
                package: payload.package.clone(),
                architecture: payload.architecture.clone(),
            };
            if let Some(clause) = left_out.missing {
                let (revision, architecture) = (left_out.revision.clone(), architecture.to_owned());
                outcome.missing.insert(Missing { revision, architecture, clause });
            }
            outcome.withheld.entry(withheld).or_insert(left_out.reason);
        }
    }
    let gone = open.iter().filter(|revision| is_gone(revision, ground, &outcome));
    let gone: Vec<(Withheld, String)> = gone
        .filter_map(|revision| {
            Some((Withheld::whole(revision.id.clone()), first_reason(revision, &outcome)?))
        })
        .collect();
    outcome.withheld.extend(gone);
    // An index for `all` alone lists what some machine could install.
    let everywhere: Vec<Sha256> = open
        .iter()
        .flat_map(|revision| &revision.payloads)
        .filter(|payload| payload.architecture == "all" && !is_listed(payload, ground, &outcome))
        .map(|payload| payload.sha256)
        .collect();
    outcome.hidden.extend(everywhere.into_iter().map(|sha256| ("all".to_owned(), sha256)));
    outcome
}

fn is_gone(revision: &Revision, ground: &Ground, outcome: &Outcome) -> bool {
    !revision.payloads.is_empty()
        && !revision.payloads.iter().any(|payload| is_listed(payload, ground, outcome))
}

/// Whether some index lists the payload still.
fn is_listed(payload: &Payload, ground: &Ground, outcome: &Outcome) -> bool {
    let listed =
        |architecture: &str| !outcome.hidden.contains(&(architecture.to_owned(), payload.sha256));
    match payload.architecture.as_str() {
        "all" => ground.natives().next().is_none() || ground.natives().any(listed),
        own => listed(own),
    }
}

/// The reason of a revision: that of the package called like it, else the
/// first that is not a mere consequence within the revision.
fn first_reason(revision: &Revision, outcome: &Outcome) -> Option<String> {
    let own: Vec<(&Withheld, &String)> = outcome
        .withheld
        .range(Withheld::whole(revision.id.clone())..)
        .take_while(|(one, _)| one.revision == revision.id)
        .collect();
    let (architecture, clause) = (String::new(), String::new());
    let least = Missing { revision: revision.id.clone(), architecture, clause };
    let missing: BTreeSet<String> = outcome
        .missing
        .range(least..)
        .take_while(|one| one.revision == revision.id)
        .map(|one| one.clause.clone())
        .collect();
    if !missing.is_empty() {
        let mut list: Vec<String> = missing.iter().take(NAMED).cloned().collect();
        if missing.len() > NAMED {
            list.push(format!("{} more", missing.len() - NAMED));
        }
        let verb = if missing.len() == 1 { "is" } else { "are" };
        return Some(format!("needs {}, which {verb} not approved", list.join(" and ")));
    }
    let called = own.iter().find(|(one, _)| one.package == revision.id.update.name);
    called.or_else(|| own.first()).map(|(_, reason)| (*reason).clone())
}

#[cfg(test)]
mod tests;
