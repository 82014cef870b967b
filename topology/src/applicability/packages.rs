//! Revisions of packages, of dpkg or rpm: whether a machine needs them follows from
//! which of their packages it has, and in which versions.

use super::inventory::{Format, Inventory, Package};
use super::{State, Verdict, named, placed};
use crate::revision::{Payload, Revision};
use crate::subscription::EVERY_ARCHITECTURE;

/// The architecture of dpkg's packages for every machine.
pub(super) const ALL: &str = "all";

/// A package of a revision beside what the machine has of it.
struct Pair<'a> {
    format: Format,
    offered: &'a Payload,
    present: &'a Package,
}

impl Pair<'_> {
    /// Whether the machine's is older, or does not work.
    fn is_needed(&self) -> bool {
        let order = self.format.compare(&self.present.version, &self.offered.version);
        order.is_lt() || (order.is_eq() && !self.present.fault.is_empty())
    }
}

/// The packages of the revision.
pub(super) fn packages(revision: &Revision) -> impl Iterator<Item = (Format, &Payload)> {
    let packages = revision
        .format()
        .into_iter()
        .flat_map(|format| revision.payloads.iter().map(move |payload| (format, payload)));
    packages.filter(|(format, one)| *format == Format::Rpm || !one.control.is_empty())
}

/// Packages of the revision that the machine has, for its architectures.
fn pairs<'a>(revision: &'a Revision, machine: &'a Inventory) -> impl Iterator<Item = Pair<'a>> {
    packages(revision).flat_map(move |(format, offered)| {
        let instances = machine.instances(format, &offered.package);
        // Few have an instance, so what is asked of the rest is its name alone.
        let is_one = move |present: &&Package| {
            machine.runs(&offered.architecture)
                && is_same(offered, present)
                && is_newest(offered, present, machine)
        };
        instances.filter(is_one).map(move |present| Pair { format, offered, present })
    })
}

/// Whether there is no newer one of a package beside it, as with kernels: rpm keeps several
/// versions of these, and a machine starts with the newest.
fn is_newest(offered: &Payload, present: &Package, machine: &Inventory) -> bool {
    let mut instances = machine.instances(Format::Rpm, &offered.package);
    present.format != Format::Rpm
        || !instances.any(|other| {
            other.architecture == present.architecture
                && Format::Rpm.compare(&other.version, &present.version).is_gt()
        })
}

/// Whether the machine's is that of the revision, in whatever version: a package
/// that was for one architecture may become one for all.
pub(super) fn is_same(offered: &Payload, present: &Package) -> bool {
    let is_all = |architecture: &String| EVERY_ARCHITECTURE.contains(&architecture.as_str());
    present.architecture == offered.architecture
        || is_all(&present.architecture)
        || is_all(&offered.architecture)
}

/// What a revision with packages is to the machine. It is needed where one of its
/// packages is there in an older version, installed where none is older.
pub(super) fn verdict(revision: &Revision, machine: &Inventory) -> Verdict {
    let mut found = None;
    for pair in pairs(revision, machine) {
        let Pair { offered, present, .. } = &pair;
        let name = &offered.package;
        if pair.is_needed() {
            let reason = if present.fault.is_empty() {
                format!("{name} {} is older than {}", present.version, offered.version)
            } else {
                format!("{name} {} is {}", present.version, present.fault)
            };
            return Verdict::new(State::Applicable, reason);
        }
        found = found.or(Some(pair));
    }
    match found {
        Some(Pair { offered, present, .. }) if present.version == offered.version => Verdict::new(
            State::Installed,
            format!("{} {} is installed", offered.package, present.version),
        ),
        Some(Pair { offered, present, .. }) => Verdict::new(
            State::Installed,
            format!(
                "{} {} is installed, which is not older than {}",
                offered.package, present.version, offered.version
            ),
        ),
        None if revision.payloads.iter().any(|one| machine.runs(&one.architecture)) => {
            Verdict::new(State::NotApplicable, "none of its packages is on this machine")
        }
        None => Verdict::new(
            State::NotApplicable,
            format!(
                "it is for architecture {}; this machine has {}",
                named(&revision.architectures),
                named(&machine.architectures)
            ),
        ),
    }
}

/// The files of `revision` that this machine would install: of packages those
/// that it has in older versions, of other files those for its architectures
/// and languages.
#[must_use]
pub fn payloads_for<'a>(revision: &'a Revision, machine: &'a Inventory) -> Vec<&'a Payload> {
    if revision.is_placed() {
        return placed::files_for(revision, machine);
    }
    if revision.format().is_none() {
        return revision.payloads.iter().filter(|one| super::is_for(one, machine)).collect();
    }
    let mut wanted: Vec<&Payload> =
        pairs(revision, machine).filter(Pair::is_needed).map(|pair| pair.offered).collect();
    wanted.dedup_by_key(|one| one.sha256);
    wanted
}

/// Packages of `revision` that the machine's administrator keeps as they are.
#[must_use]
pub fn held<'a>(revision: &'a Revision, machine: &'a Inventory) -> Vec<&'a str> {
    let held = pairs(revision, machine).filter(|pair| pair.present.held && pair.is_needed());
    held.map(|pair| pair.offered.package.as_str()).collect()
}
